// Opening, reading and closing.

#include "sim/qcow2/image.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/base/check.h"
#include "sim/qcow2/check.h"
#include "sim/qcow2/format.h"

namespace sim::qcow2 {

Image::Image(World& world, std::shared_ptr<storage::Storage> file, Header header,
             OpenOptions options)
    : file_(std::move(file)),
      options_(std::move(options)),
      header_(std::move(header)),
      geometry_(header_.geometry()),
      format_{.geometry = geometry_,
              .data_file = header_.has_data_file(),
              .zero_flag = header_.version >= 3},
      size_(align_down(header_.size, format::kSector)),
      tables_(*file_, geometry_),
      refcounts_(*file_, tables_, header_),
      lock_(world.scheduler),
      encrypted_writes_(world.scheduler),
      landed_(world.scheduler) {}

Task<Result<Header>> read_header(storage::Storage& file, HeaderUse use) {
  constexpr const char* kContext = "Could not read qcow2 header";
  std::array<std::byte, 1024> start{};  // enough for what QEMU writes, with a name of usual length
  if (auto got = co_await file.read(0, start); !got)
    co_return os_error(got.error().number, kContext);
  CO_TRY(auto parsed, parse_header(start, use));
  if (!parsed) {
    const auto bits = load_be<std::uint32_t>(start, format::at::cluster_bits);
    std::vector<std::byte> cluster(std::size_t{1} << bits);
    if (auto got = co_await file.read(0, cluster); !got)
      co_return os_error(got.error().number, kContext);
    CO_TRY(parsed, parse_header(cluster, use));
  }
  CHECK(parsed, "a whole cluster holds the header");
  co_return *std::move(parsed);
}

Task<Result<std::unique_ptr<Image>>> Image::open(World& world,
                                                 std::shared_ptr<storage::Storage> file,
                                                 bool writable) {
  return open(world, std::move(file), OpenOptions{.writable = writable, .lax = true});
}

// QEMU: an image whose counts may be wrong is repaired before it is changed.
static Task<Result<Header>> read_usable_header(std::shared_ptr<storage::Storage> file,
                                               bool writable) {
  CO_TRY(Header header, co_await read_header(*file, writable));
  if (!writable || !header.is_dirty()) co_return header;
  constexpr const char* kContext = "Could not repair dirty image";
  auto repaired = co_await check(file, {.repair = Repair::all});
  if (!repaired) co_return os_error(repaired.error().number, kContext);
  if (repaired->check_errors > 0) co_return os_error(EIO, kContext);
  co_return co_await read_header(*file, writable);
}

// A structure that the header names lies in the file.
static Result<> check_inside(std::string_view name, HostOffset start, std::uint64_t bytes,
                             std::uint64_t end) {
  if (bytes == 0 || (start.value <= end && bytes <= end - start.value)) return ok();
  return Error{ErrorClass::generic,
               fmt::format("{} at offset {:#x} lies beyond the end of the file", name, start.value),
               EINVAL};
}

static Result<> check_options(const Header& header, const OpenOptions& options) {
  const auto refuse = [](const char* text) { return Error{ErrorClass::generic, text, EINVAL}; };
  if (header.has_data_file() && !options.data_file)
    return refuse("'data-file' is required for this image");
  if (!header.has_data_file() && options.data_file)
    return refuse("'data-file' can only be set for images with an external data file");
  if (options.lazy_refcounts.value_or(false) && header.version < 3)
    return refuse(
        "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level");
  return ok();
}

Task<Result<std::unique_ptr<Image>>> Image::open(World& world,
                                                 std::shared_ptr<storage::Storage> file,
                                                 OpenOptions options) {
  CO_TRY(Header header, co_await read_usable_header(file, options.writable));
  CO_TRY_OK(check_options(header, options));
  if (!options.lax) {
    const std::uint64_t end = align_up(file->size(), header.geometry().cluster_bytes());
    CO_TRY_OK(check_inside("Refcount table", header.refcount_table_offset,
                           header.refcount_table_clusters * header.geometry().cluster_bytes(),
                           end));
    CO_TRY_OK(check_inside("L1 table", header.l1_table_offset, header.l1_size * format::kEntryBytes,
                           end));
  }
  std::unique_ptr<Image> image(
      new Image(world, std::move(file), std::move(header), std::move(options)));
  CO_TRY_OK(co_await image->prepare());
  co_return image;
}

Task<Result<>> Image::prepare() {
  constexpr std::uint64_t kKnown = format::kAutoclearBitmaps | format::kAutoclearRawDataFile;
  lazy_refcounts_ = options_.lazy_refcounts.value_or(header_.has_lazy_refcounts());
  tables_.refuse_beyond_end(!options_.lax);
  tables_.observe(options_.observer);
  if (observed()) CO_TRY_OK(co_await load_tables());
  const bool unknown = (header_.autoclear_features & ~kKnown) != 0;
  if (options_.writable && (unknown || header_.drops_bitmaps)) {
    header_.autoclear_features &= kKnown;
    if (auto stored = co_await store_header(); !stored)
      co_return os_error(stored.error().number, "Could not update qcow2 header");
  }
  if (header_.nb_snapshots > 0) {
    CO_TRY(SnapshotTable table, co_await read_snapshot_table(*file_, header_, false, {}));
    snapshots_ = std::move(table.snapshots);
    snapshot_table_bytes_ = table.bytes;
  }
  CO_TRY_OK(co_await load_bitmaps());
  if (options_.writable) CO_TRY_OK(co_await learn_metadata());
  if (!options_.snapshot.empty()) CO_TRY_OK(co_await show_snapshot(options_.snapshot));
  if (!options_.lax) CO_TRY_OK(co_await check_l2_tables(l1().offset, l1().entries));
  co_return ok();
}

// What QEMU reads while it opens an image and then keeps.
Task<Result<>> Image::load_tables() {
  const auto read = co_await tables_.load(header_.l1_table_offset,
                                          header_.l1_size * format::kEntryBytes, Tables::Kind::l1);
  if (!read) co_return os_error(read.error().number, "Could not read L1 table");
  co_await tables_.tell("reftable_load");
  const auto counts = co_await tables_.load(header_.refcount_table_offset,
                                            header_.refcount_table_clusters * cluster_size(),
                                            Tables::Kind::refcount_table);
  if (!counts) co_return os_error(counts.error().number, "Could not initialize refcount handling");
  co_return ok();
}

Task<Result<>> Image::show_snapshot(const std::string& id_or_name) {
  const Snapshot* const snapshot = find_snapshot(id_or_name);
  if (options_.writable) co_return os_error(EINVAL);
  if (snapshot == nullptr) co_return os_error(ENOENT, "Can't find snapshot");
  shown_l1_ = L1{snapshot->l1_table_offset, snapshot->l1_size};
  size_ = align_down(snapshot->size.value_or(header_.size), format::kSector);
  co_return ok();
}

// Writes the whole header cluster.
Task<Result<>> Image::store_header() {
  CO_TRY(std::vector<std::byte> bytes, serialise_header(header_));
  if (observed()) {  // as QEMU: in one request, not flushed
    bytes.resize(cluster_size());
    co_return co_await file_->write(0, bytes);
  }
  CO_TRY_OK(co_await file_->write(0, bytes));
  CO_TRY_OK(co_await file_->write_zeroes(bytes.size(), cluster_size() - bytes.size(), false));
  co_return co_await file_->flush();
}

Task<Result<>> Image::change_backing_name(std::string file, std::string format) {
  CO_TRY_OK(check_change({0}, 0));
  if (file.size() > format::kBackingNameMax || format.size() >= format::kBackingFormatMax)
    co_return os_error(EINVAL);
  const auto held = co_await lock_.lock();
  const std::string old_file = std::exchange(header_.backing_file, std::move(file));
  const std::string old_format = std::exchange(header_.backing_format, std::move(format));
  auto stored = co_await store_header();
  if (!stored) {
    header_.backing_file = old_file;
    header_.backing_format = old_format;
  }
  co_return stored;
}

Result<> Image::check_range(GuestOffset at, std::uint64_t length) const {
  if (options_.writable && tables_.metadata().broken()) return os_error(ENOMEDIUM);  // QEMU
  if (at.value > size_ || length > size_ - at.value) return os_error(EIO);
  return ok();
}

Result<> Image::check_change(GuestOffset at, std::uint64_t length) const {
  if (!options_.writable) return os_error(EBADF);
  return check_range(at, length);
}

Image::Flight::Flight(Image& image, GuestOffset at, std::uint64_t length, bool flight_allocates)
    : first(align_down(at.value, image.cluster_size())),
      end(align_up(at.value + length, image.cluster_size())),
      allocates(flight_allocates),
      image_(image),
      next_(image.flights_) {
  if (next_ != nullptr) next_->previous_ = this;
  image.flights_ = this;
}

Image::Flight::~Flight() {
  (previous_ == nullptr ? image_.flights_ : previous_->next_) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
  image_.landed_.wake_all();
}

const Image::Flight* Image::flight_over(std::uint64_t first, std::uint64_t end,
                                        bool allocating_only) const {
  const Flight* flight = flights_;
  while (flight != nullptr &&
         (flight->first >= end || first >= flight->end || (allocating_only && !flight->allocates)))
    flight = flight->next_;
  return flight;
}

Task<Mutex::Held> Image::lock_landed(GuestOffset at, std::uint64_t length) {
  const std::uint64_t first = align_down(at.value, cluster_size());
  const std::uint64_t end = align_up(at.value + length, cluster_size());
  for (;;) {
    {
      auto held = co_await lock_.lock();
      if (flight_over(first, end, false) == nullptr) co_return held;
    }
    co_await landed_.wait();
  }
}

// Bytes of one mapped stretch; absent ones come from the backing.
Task<Result<>> Image::read_piece(const Mapping& mapping, GuestOffset at, MutableBytes into) {
  switch (mapping.extent.kind) {
    case Extent::Kind::data:
      co_return co_await read_data(mapping.extent.host, at, into);
    case Extent::Kind::compressed:
      co_return co_await read_compressed(mapping.entry.word, geometry_.within(at), into);
    case Extent::Kind::absent:
      if (backing_ != nullptr && observed()) co_await tables_.tell("read_backing_aio");
      if (backing_ != nullptr) co_return co_await backing_->read(at.value, into);
      [[fallthrough]];
    case Extent::Kind::zero:
      std::ranges::fill(into, std::byte{0});
      co_return ok();
  }
}

Task<Result<>> Image::read(GuestOffset at, MutableBytes into) {
  CO_TRY_OK(check_range(at, into.size()));
  if (auto held = lock_.try_lock(); held && !encrypted() && !into.empty() && !observed()) {
    if (const Tables::Slice* const slice = slice_now(geometry_.cluster_of(at), false)) {
      Mapping found;
      const Result<bool> mapped = map_slice(*slice, at, into.size(), found);
      const Extent& run = found.extent;
      if (mapped && run.kind == Extent::Kind::data && run.length >= into.size() &&
          may_read(run.host, into.size())) {
        const Flight flight(*this, at, into.size(), false);
        held.reset();
        co_return co_await data().read(run.host.value, into);
      }
    }
  }
  Result<> done = co_await read_at(at, into);
  if (tables_.metadata().broken()) co_return co_await settle(std::move(done));
  co_return done;
}

Task<Result<>> Image::read_at(GuestOffset at, MutableBytes into) {
  if (encrypted() && !is_aligned(at.value | into.size(), format::kSector))
    co_return co_await read_part_of_sectors(at, into);
  while (!into.empty()) {
    auto held = std::make_optional(co_await lock_.lock());
    CO_TRY(const Mapping found, co_await mapping(at, into.size()));
    const std::uint64_t length = found.extent.length;
    // Where compressed data lies, other data may be as soon as it is given up: writes wait for it.
    const Flight flight(*this, at, length, found.extent.kind == Extent::Kind::compressed);
    held.reset();
    CO_TRY_OK(co_await read_piece(found, at, into.first(length)));
    into = into.subspan(length);
    at = at + length;
  }
  co_return ok();
}

Task<Result<Extent>> Image::status(GuestOffset at, std::uint64_t length) {
  std::vector<Extent> found;
  CO_TRY_OK(co_await statuses(at, length, 1, found));
  co_return found.front();
}

Task<Result<>> Image::statuses(GuestOffset at, std::uint64_t length, std::size_t most,
                               std::vector<Extent>& into) {
  CO_TRY_OK(check_range(at, length));
  auto held = std::make_optional(co_await lock_.lock());
  const GuestOffset end = at + length;
  const std::size_t first = into.size();
  do {
    Result<Mapping> found = co_await mapping(at, end.value - at.value);
    if (!found && into.size() > first) break;  // it waits for who asks there
    if (!found) {
      held.reset();
      CO_TRY_OK(co_await settle(std::move(found).error()));
    }
    into.push_back(found->extent);
    at = at + found->extent.length;
    if (at.value >= end.value || into.size() >= most) break;
    const Tables::Slice* slice = slice_now(geometry_.cluster_of(at), false);
    if (slice == nullptr) continue;
    const std::size_t known = into.size();
    map_runs(*slice, at, end.value - at.value, most, into);
    for (std::size_t i = known; i < into.size(); ++i) at = at + into[i].length;
  } while (at.value < end.value && into.size() < most);
  for (std::size_t i = first; i < into.size(); ++i) into[i].placed = into[i].placed && !encrypted();
  co_return ok();
}

Task<Result<>> Image::write_back() {
  if (!options_.writable) co_return ok();
  if (tables_.metadata().broken()) co_return os_error(ENOMEDIUM);
  Result<> done = ok();
  {
    const auto held = co_await lock_.lock();
    done = co_await tables_.write_back();
  }
  co_return co_await settle(std::move(done));
}

Task<Result<>> Image::flush() {
  if (!options_.writable) co_return ok();
  if (tables_.metadata().broken()) co_return os_error(ENOMEDIUM);
  Result<> done = ok();
  {
    const auto held = co_await lock_.lock();
    if (format_.data_file) CO_TRY_OK(co_await data().flush());
    if (tables_.defers_refcounts())
      done = co_await tables_.flush_mappings();
    else
      done = co_await tables_.flush();
  }
  co_return co_await settle(std::move(done));
}

Task<Result<>> Image::close() {
  if (!options_.writable || tables_.metadata().broken()) co_return ok();
  CO_TRY_OK(co_await store_bitmaps());
  CO_TRY_OK(co_await flush());
  if (!header_.is_dirty()) co_return ok();
  const auto held = co_await lock_.lock();
  if (stays_dirty_) co_return co_await tables_.flush();
  co_return co_await mark_clean();
}

}  // namespace sim::qcow2
