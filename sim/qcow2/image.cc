// Opening, reading and closing.

#include "sim/qcow2/image.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "sim/base/check.h"
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
      landed_(world.scheduler) {}

Task<Result<Header>> read_header(storage::Storage& file, HeaderUse use) {
  constexpr const char* kContext = "Could not read qcow2 header";
  std::array<std::byte, 1024> start;  // enough for what QEMU writes, with a name of usual length
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

Task<Result<std::unique_ptr<Image>>> Image::open(World& world,
                                                 std::shared_ptr<storage::Storage> file,
                                                 OpenOptions options) {
  const bool writable = options.writable;
  CO_TRY(Header header, co_await read_header(*file, writable));
  constexpr std::uint64_t kKnown = format::kAutoclearBitmaps | format::kAutoclearRawDataFile;
  const bool unknown = (header.autoclear_features & ~kKnown) != 0;
  std::unique_ptr<Image> image(
      new Image(world, std::move(file), std::move(header), std::move(options)));
  if (writable && unknown) {
    image->header_.autoclear_features &= kKnown;
    if (auto stored = co_await image->store_header(); !stored)
      co_return os_error(stored.error().number, "Could not update qcow2 header");
  }
  if (image->header_.nb_snapshots > 0) {
    CO_TRY(image->snapshots_, co_await read_snapshots(*image->file_, image->header_));
  }
  CO_TRY_OK(co_await image->load_bitmaps());
  if (!image->options_.snapshot.empty())
    CO_TRY_OK(co_await image->show_snapshot(image->options_.snapshot));
  co_return image;
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
  CO_TRY(const std::vector<std::byte> bytes, serialise_header(header_));
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
  if (at.value > size_ || length > size_ - at.value) return os_error(EIO);
  return ok();
}

Result<> Image::check_change(GuestOffset at, std::uint64_t length) const {
  if (!options_.writable) return os_error(EBADF);
  return check_range(at, length);
}

Image::Flights::iterator Image::flight_over(std::uint64_t first, std::uint64_t end,
                                            bool allocating_only) {
  return std::ranges::find_if(flights_, [=](const Flight& flight) {
    return flight.first < end && first < flight.end && (flight.allocates || !allocating_only);
  });
}

Image::Flights::iterator Image::take_off(GuestOffset at, std::uint64_t length, bool allocates) {
  const std::uint64_t cluster = cluster_size();
  flights_.push_front({.first = align_down(at.value, cluster),
                       .end = align_up(at.value + length, cluster),
                       .allocates = allocates});
  return flights_.begin();
}

Task<Mutex::Held> Image::lock_landed(GuestOffset at, std::uint64_t length) {
  const std::uint64_t first = align_down(at.value, cluster_size());
  const std::uint64_t end = align_up(at.value + length, cluster_size());
  for (;;) {
    {
      auto held = co_await lock_.lock();
      if (flight_over(first, end, false) == flights_.end()) co_return held;
    }
    co_await landed_.wait();
  }
}

// Bytes of one mapped stretch; absent ones come from the backing.
Task<Result<>> Image::read_piece(const Mapping& mapping, GuestOffset at, MutableBytes into) {
  switch (mapping.extent.kind) {
    case Extent::Kind::data:
      co_return co_await file_->read(mapping.extent.host.value, into);
    case Extent::Kind::compressed: {
      std::vector<std::byte> cluster(cluster_size());
      CO_TRY_OK(co_await read_compressed(mapping.entry.word, cluster));
      std::ranges::copy(Bytes(cluster).subspan(geometry_.within(at), into.size()), into.begin());
      co_return ok();
    }
    case Extent::Kind::absent:
      if (backing_ != nullptr) co_return co_await backing_->read(at.value, into);
      [[fallthrough]];
    case Extent::Kind::zero:
      std::ranges::fill(into, std::byte{0});
      co_return ok();
  }
}

Task<Result<>> Image::read(GuestOffset at, MutableBytes into) {
  CO_TRY_OK(check_range(at, into.size()));
  co_return co_await read_at(at, into);
}

Task<Result<>> Image::read_at(GuestOffset at, MutableBytes into) {
  while (!into.empty()) {
    auto held = std::make_optional(co_await lock_.lock());
    CO_TRY(const Mapping found, co_await mapping(at, into.size()));
    const std::uint64_t length = found.extent.length;
    const Landing landing(*this, take_off(at, length, false));
    held.reset();
    CO_TRY_OK(co_await read_piece(found, at, into.first(length)));
    into = into.subspan(length);
    at = at + length;
  }
  co_return ok();
}

Task<Result<Extent>> Image::status(GuestOffset at, std::uint64_t length) {
  CO_TRY_OK(check_range(at, length));
  const auto held = co_await lock_.lock();
  CO_TRY(const Mapping found, co_await mapping(at, length));
  co_return found.extent;
}

Task<Result<>> Image::flush() {
  const auto held = co_await lock_.lock();
  if (!options_.writable) co_return ok();
  co_return co_await tables_.flush();
}

Task<Result<>> Image::close() {
  CO_TRY_OK(co_await store_bitmaps());
  co_return co_await flush();
}

}  // namespace sim::qcow2
