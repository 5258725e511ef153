// Guest writes: overwriting in place, allocating, copying what a write leaves open.
//
// The order of allocation is QEMU's (format.md, "Allocation"): a request is taken piece by piece, a
// piece being as much as can be adjacent in the file; its L2 table comes before its data.

#include <algorithm>
#include <bit>
#include <memory>

#include "sim/base/check.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

using Kind = L2Format::Kind;

Task<Result<>> Image::write(GuestOffset at, Bytes from) {
  CO_TRY_OK(check_change(at, from.size()));
  if (auto held = lock_.try_lock(); held && flights_ == nullptr && !encrypted() && !observed()) {
    if (const std::optional<HostOffset> host = place_now(at, from.size())) {
      note_change(at, from.size());
      const Flight flight(*this, at, from.size(), false);
      held.reset();
      co_return co_await data().write(host->value, from);
    }
  }
  Result<> done = co_await write_at(at, from);
  if (tables_.metadata().broken()) co_return co_await settle(std::move(done));
  co_return done;
}

// Where a write goes that changes nothing but data, in one cluster, if that can be known without
// waiting.  With lock_ held.
std::optional<HostOffset> Image::place_now(GuestOffset at, std::uint64_t length) {
  const std::uint64_t within = geometry_.within(at);
  if (length == 0 || within + length > cluster_size()) return std::nullopt;
  const GuestCluster cluster = geometry_.cluster_of(at);
  const Tables::Slice* const slice = slice_now(cluster, true);
  if (slice == nullptr) return std::nullopt;
  const L2Entry entry = load_entry(*slice, cluster);
  if (!format_.in_place(entry) || !stored(entry, within, length)) return std::nullopt;
  if (!check_entry(cluster, entry)) return std::nullopt;
  const HostOffset host = entry.host() + within;
  if (!may_read(host, length) || !may_write(host, length)) return std::nullopt;
  return host;
}

Task<Result<>> Image::write_at(GuestOffset at, Bytes from) {
  note_change(at, from.size());
  if (!encrypted()) co_return co_await write_pieces(at, from);
  if (!options_.cipher) co_return os_error(EIO);
  const auto alone = co_await encrypted_writes_.lock();
  if (is_aligned(at.value | from.size(), format::kSector))
    co_return co_await write_pieces(at, from);
  co_return co_await write_part_of_sectors(at, from);
}

// As QEMU, whose pieces are under way beside each other: what they replace is given up when all
// have found their place.
Task<Result<>> Image::write_pieces(GuestOffset at, Bytes from) {
  std::vector<L2Entry> replaced;
  Result<> done = co_await write_each(at, from, replaced);
  if (replaced.empty()) co_return done;
  const auto held = co_await lock_.lock();
  for (const L2Entry old : replaced) {
    auto released = co_await release_entry(old, false);
    if (done) done = std::move(released);
  }
  co_return done;
}

Task<Result<>> Image::write_each(GuestOffset at, Bytes from, std::vector<L2Entry>& replaced) {
  while (!from.empty()) {
    auto held = std::make_optional(co_await lock_.lock());
    const std::uint64_t first = align_down(at.value, cluster_size());
    if (flight_over(first, first + 1, true) != nullptr) {
      held.reset();
      co_await landed_.wait();
      continue;
    }
    std::uint64_t most = from.size();
    if (encrypted())
      most = std::min(most, format::kCryptClusters * cluster_size() - geometry_.within(at));
    CO_TRY(Piece piece, co_await map_for_write(at, most));
    const Flight flight(*this, at, piece.length, piece.link);
    held.reset();
    const Bytes part = from.first(piece.length);
    if (auto done =
            co_await (observed() ? store_observed(at, part, piece) : store(at, part, piece));
        !done) {
      const auto again = co_await lock_.lock();
      (void)co_await give_back(piece);  // the first failure is the one to report
      co_return done;
    }
    if (piece.link) CO_TRY_OK(co_await link(at, piece, replaced));
    from = from.subspan(piece.length);
    at = at + piece.length;
  }
  co_return ok();
}

// With lock_ held and no allocation in flight over the first cluster.
Task<Result<Image::Piece>> Image::map_for_write(GuestOffset at, std::uint64_t length) {
  Piece piece;
  while (piece.length < length) {
    const GuestOffset next = at + piece.length;
    // Stop at an allocation in flight: when it has landed, its clusters are there to be
    // overwritten.
    std::uint64_t rest = length - piece.length;
    for (auto flight = flight_over(next.value, next.value + rest, true); flight != nullptr;
         flight = flight_over(next.value, next.value + rest, true)) {
      rest = flight->first > next.value ? flight->first - next.value : 0;
      if (rest == 0) break;
    }
    if (rest == 0) break;
    auto extended = co_await extend(piece, next, rest);
    if (!extended) {
      (void)co_await give_back(piece);
      co_return std::move(extended).error();
    }
    if (!*extended) break;
  }
  CHECK(piece.length > 0);
  co_return piece;
}

// Adds clusters of one kind at `at`, where the piece ends; false if none can be adjacent to it.
Task<Result<bool>> Image::extend(Piece& piece, GuestOffset at, std::uint64_t length) {
  const GuestCluster cluster = geometry_.cluster_of(at);
  CO_TRY(const L2Entry present, co_await entry(cluster));
  CO_TRY_OK(check_entry(cluster, present));
  if (!format_.in_place(present)) co_return co_await allocate(piece, at, length, present);
  const HostOffset host = present.host() + geometry_.within(at);
  if (piece.length > 0 && host != piece.host + piece.length) co_return false;
  CO_TRY_OK(co_await keep(piece, at, length, present));
  co_return true;
}

// How many clusters from `first` on, of those that `length` bytes at `at` touch, are of a kind:
// to be allocated, or to be overwritten and adjacent.  Not beyond what QEMU handles at a time.
Task<Result<std::uint64_t>> Image::count_run(GuestCluster first, std::uint64_t most,
                                             bool to_allocate) {
  const std::uint64_t stretch =
      std::min(cluster_size(), format::kL2StretchBytes) / geometry_.l2_entry_bytes();
  most = std::min(most, stretch - geometry_.l2_index(first) % stretch);
  HostOffset expected;
  std::uint64_t count = 0;
  for (; count < most; ++count) {
    L2Entry present;
    if (const Tables::Slice* const slice = slice_now(first + count, true); slice != nullptr) {
      present = load_entry(*slice, first + count);
    } else {
      CO_TRY(present, co_await entry(first + count));
    }
    if (format_.in_place(present) == to_allocate) break;
    CO_TRY_OK(check_entry(first + count, present));
    if (!to_allocate && count > 0 && present.host() != expected) break;
    expected = present.host() + cluster_size();
  }
  co_return count;
}

// True if all of [within, within + length) of the cluster is stored data.
bool Image::stored(L2Entry entry, std::uint64_t within, std::uint64_t length) const {
  const std::uint64_t last = (within + length - 1) / geometry_.subcluster_bytes();
  for (std::uint64_t i = within / geometry_.subcluster_bytes(); i <= last; ++i)
    if (format_.kind(entry, i) != Kind::data) return false;
  return true;
}

// Bytes before a write, from the start of which on the cluster is to be filled.  Subclusters that
// were never stored stay so, unless the write touches them.
std::uint64_t Image::head_of(GuestOffset at, L2Entry entry, bool kept) const {
  const std::uint64_t within = geometry_.within(at);
  std::uint64_t first = within / geometry_.subcluster_bytes();
  if (kept && format_.kind(entry, first) == Kind::data) return 0;
  if (entry.compressed()) return within;
  if (!kept)
    first = std::min<std::uint64_t>(
        first, static_cast<unsigned>(std::countr_zero(static_cast<std::uint32_t>(entry.bitmap))));
  return within - first * geometry_.subcluster_bytes();
}

// The same behind a write that ends at `end`.
std::uint64_t Image::tail_of(GuestOffset end, L2Entry entry, bool kept) const {
  const std::uint64_t within = geometry_.within(GuestOffset{end.value - 1});
  std::uint64_t last = within / geometry_.subcluster_bytes();
  if (kept && format_.kind(entry, last) == Kind::data) return 0;
  if (entry.compressed()) return cluster_size() - (within + 1);
  if (const auto stored = static_cast<std::uint32_t>(entry.bitmap); !kept && stored != 0)
    last = std::max<std::uint64_t>(last, 31U - static_cast<unsigned>(std::countl_zero(stored)));
  return (last + 1) * geometry_.subcluster_bytes() - (within + 1);
}

// Clusters that stay where they are.  What was not data becomes it.
Task<Result<>> Image::keep(Piece& piece, GuestOffset at, std::uint64_t length,
                           L2Entry first_entry) {
  const GuestCluster first = geometry_.cluster_of(at);
  const std::uint64_t within = geometry_.within(at);
  CO_TRY(const std::uint64_t clusters,
         co_await count_run(first, geometry_.clusters_for(within + length), false));
  length = std::min(length, clusters * cluster_size() - within);
  CO_TRY_OK(may_read(first_entry.host(), clusters * cluster_size()));
  L2Entry last_entry = first_entry;
  bool changes = false;
  for (std::uint64_t i = 0; i < clusters; ++i) {
    CO_TRY(last_entry, co_await entry(first + i));
    const std::uint64_t from = i == 0 ? within : 0;
    const std::uint64_t to = std::min(cluster_size(), within + length - i * cluster_size());
    changes |= !stored(last_entry, from, to - from);
  }
  if (piece.length == 0) {
    piece.host = first_entry.host() + within;
    piece.head = changes ? head_of(at, first_entry, true) : 0;
  }
  piece.tail = changes ? tail_of(at + length, last_entry, true) : 0;
  piece.link |= changes;
  if (changes && observed())
    piece.parts.push_back({.at = piece.length,
                           .length = length,
                           .head = piece.length == 0 ? piece.head : 0,
                           .tail = piece.tail});
  piece.length += length;
  co_return ok();
}

// New clusters, behind the piece if there is one already; false if they are not free there.
Task<Result<bool>> Image::allocate(Piece& piece, GuestOffset at, std::uint64_t length,
                                   L2Entry first_entry) {
  const GuestCluster first = geometry_.cluster_of(at);
  const std::uint64_t within = geometry_.within(at);
  CO_TRY(std::uint64_t clusters,
         co_await count_run(first, geometry_.clusters_for(within + length), true));
  HostCluster host;
  if (format_.data_file) {  // offsets there are the guest's
    host = {first.value};
    if (piece.length > 0 && piece.host + piece.length != geometry_.start_of(host)) co_return false;
  } else if (piece.length > 0) {
    host = geometry_.cluster_of(piece.host + piece.length);
    CO_TRY(clusters, co_await refcounts_.allocate_at(host, clusters));
    if (clusters == 0) co_return false;
  } else {
    CO_TRY(host, co_await refcounts_.allocate(clusters));
    if (host.value == 0)
      co_return tables_.metadata().report(
          "Preventing invalid allocation of data cluster at offset 0");
  }
  if (!format_.data_file) piece.allocated.emplace_back(host, clusters);
  if (piece.length == 0) {
    piece.host = geometry_.start_of(host) + within;
    piece.head = head_of(at, first_entry, false);
  }
  length = std::min(length, clusters * cluster_size() - within);
  CO_TRY(const L2Entry last, co_await entry(geometry_.cluster_of(at + (length - 1))));
  piece.tail = tail_of(at + length, last, false);
  piece.link = true;
  if (observed())
    piece.parts.push_back({.at = piece.length,
                           .length = length,
                           .head = piece.length == 0 ? piece.head : 0,
                           .tail = piece.tail});
  piece.length += length;
  co_return true;
}

// Data and what surrounds it.
Task<Result<>> Image::store(GuestOffset at, Bytes from, const Piece& piece) {
  if (!from.empty()) CO_TRY_OK(co_await write_data(piece.host, at, from));
  if (piece.head > 0)
    CO_TRY_OK(co_await fill({at.value - piece.head}, piece.head, {piece.host.value - piece.head}));
  if (piece.tail > 0)
    CO_TRY_OK(co_await fill(at + piece.length, piece.tail, piece.host + piece.length));
  co_return ok();
}

// Copies what the guest sees at `from`, beyond the end of the disk too, to the file at `to`.
Task<Result<>> Image::fill(GuestOffset from, std::uint64_t length, HostOffset to) {
  constexpr std::uint64_t kBufferBytes = 65536;
  std::unique_ptr<std::byte[]> buffer;
  while (length > 0) {
    Mapping found;
    {
      const auto held = co_await lock_.lock();
      CO_TRY(found, co_await mapping(from, length));
    }
    Extent& extent = found.extent;
    if (extent.kind == Kind::zero || (extent.kind == Kind::absent && backing_ == nullptr)) {
      CO_TRY_OK(co_await write_zero_data(to, from, extent.length));
    } else {
      extent.length = std::min(extent.length, kBufferBytes);
      if (!buffer) buffer = std::make_unique_for_overwrite<std::byte[]>(extent.length);
      const MutableBytes part(buffer.get(), extent.length);
      CO_TRY_OK(co_await read_piece(found, from, part));
      CO_TRY_OK(co_await write_data(to, from, part));
    }
    from = from + extent.length;
    to = to + extent.length;
    length -= extent.length;
  }
  co_return ok();
}

// The entry of a cluster of the piece when its data is there.
L2Entry Image::linked(GuestCluster cluster, L2Entry old, GuestOffset at, const Piece& piece) const {
  const std::uint64_t start = geometry_.start_of(cluster).value;
  const std::uint64_t host =
      piece.host.value - geometry_.within(at) + (start - align_down(at.value, cluster_size()));
  L2Entry now{.word = host | format::kCopied};
  if (!geometry_.extended_l2) return now;
  const std::uint64_t from = std::max(at.value - piece.head, start) - start;
  const std::uint64_t to =
      std::min(at.value + piece.length + piece.tail, start + cluster_size()) - start;
  const std::uint64_t first = from / geometry_.subcluster_bytes();
  const std::uint64_t count = div_up(to, geometry_.subcluster_bytes()) - first;
  const std::uint64_t stored = ((std::uint64_t{1} << count) - 1) << first;
  now.bitmap = old.compressed() ? 0 : old.bitmap;
  now.bitmap = (now.bitmap | stored) & ~(stored << format::kSubclusters);
  return now;
}

// Sets the entries.  If that fails half way, clusters may leak, but none is freed that an entry
// refers to.
Task<Result<>> Image::link(GuestOffset at, const Piece& piece, std::vector<L2Entry>& replaced) {
  const auto held = co_await lock_.lock();
  tables_.data_written();
  if (lazy_refcounts_ && !header_.is_dirty()) CO_TRY_OK(co_await mark_dirty());
  if (observed()) co_await tables_.observed_link(piece.copied);
  const GuestCluster first = geometry_.cluster_of(at);
  const std::uint64_t clusters = geometry_.clusters_for(geometry_.within(at) + piece.length);
  for (std::uint64_t i = 0; i < clusters; ++i) {
    CO_TRY(const L2Entry old, co_await entry(first + i));
    const L2Entry now = linked(first + i, old, at, piece);
    if (old.compressed() || (format_.placed(old) && old.host() != now.host()))
      replaced.push_back(old);
    CO_TRY_OK(co_await set_entry(first + i, now));
  }
  co_return ok();
}

// Frees what was allocated for a piece that could not be stored.  With lock_ held.
Task<Result<>> Image::give_back(const Piece& piece) {
  for (const auto& [first, clusters] : piece.allocated)
    CO_TRY_OK(co_await refcounts_.release(first, clusters, false));
  co_return ok();
}

}  // namespace sim::qcow2
