// Guest writes: overwriting in place, allocating, copying what a write leaves open.
//
// The order of allocation is QEMU's (format.md, "Allocation"): a request is taken piece by piece, a
// piece being as much as can be adjacent in the file; its L2 table comes before its data.

#include <algorithm>
#include <memory>

#include "sim/base/check.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

Task<Result<>> Image::write(GuestOffset at, Bytes from) {
  CO_TRY_OK(check_change(at, from.size()));
  co_return co_await write_at(at, from);
}

Task<Result<>> Image::write_at(GuestOffset at, Bytes from) {
  note_change(at, from.size());
  while (!from.empty()) {
    auto held = std::make_optional(co_await lock_.lock());
    const std::uint64_t first = align_down(at.value, cluster_size());
    if (flight_over(first, first + 1, true) != flights_.end()) {
      held.reset();
      co_await landed_.wait();
      continue;
    }
    CO_TRY(const Piece piece, co_await map_for_write(at, from.size()));
    const Landing landing(*this, take_off(at, piece.length, piece.link));
    held.reset();
    if (auto stored = co_await store(at, from.first(piece.length), piece); !stored) {
      const auto again = co_await lock_.lock();
      (void)co_await give_back(piece);  // the first failure is the one to report
      co_return stored;
    }
    if (piece.link) CO_TRY_OK(co_await link(at, piece));
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
    for (auto flight = flight_over(next.value, next.value + rest, true); flight != flights_.end();
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
  CO_TRY_OK(decode(cluster, present));
  if (!format_.in_place(present)) co_return co_await allocate(piece, at, length);
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
      std::min(cluster_size(), format::kL2StretchBytes) / format::kEntryBytes;
  most = std::min(most, stretch - geometry_.l2_index(first) % stretch);
  HostOffset expected;
  std::uint64_t count = 0;
  for (; count < most; ++count) {
    CO_TRY(const L2Entry present, co_await entry(first + count));
    if (format_.in_place(present) == to_allocate || !decode(first + count, present)) break;
    if (!to_allocate && count > 0 && present.host() != expected) break;
    expected = present.host() + cluster_size();
  }
  co_return count;
}

// Clusters that stay where they are.  A zero flag goes, and with it what the cluster held.
Task<Result<>> Image::keep(Piece& piece, GuestOffset at, std::uint64_t length,
                           L2Entry first_entry) {
  const GuestCluster first = geometry_.cluster_of(at);
  CO_TRY(const std::uint64_t clusters,
         co_await count_run(first, geometry_.clusters_for(geometry_.within(at) + length), false));
  L2Entry last_entry = first_entry;
  for (std::uint64_t i = 0; i < clusters; ++i) {
    CO_TRY(last_entry, co_await entry(first + i));
    piece.link |= (last_entry.word & format::kZero) != 0;
  }
  if (piece.length == 0) {
    piece.host = first_entry.host() + geometry_.within(at);
    piece.copy_head = (first_entry.word & format::kZero) != 0;
  }
  piece.copy_tail = (last_entry.word & format::kZero) != 0;
  piece.length += std::min(length, clusters * cluster_size() - geometry_.within(at));
  co_return ok();
}

// New clusters, behind the piece if there is one already; false if they are not free there.
Task<Result<bool>> Image::allocate(Piece& piece, GuestOffset at, std::uint64_t length) {
  const GuestCluster first = geometry_.cluster_of(at);
  CO_TRY(std::uint64_t clusters,
         co_await count_run(first, geometry_.clusters_for(geometry_.within(at) + length), true));
  HostCluster host;
  if (piece.length > 0) {
    host = geometry_.cluster_of(piece.host + piece.length);
    CO_TRY(clusters, co_await refcounts_.allocate_at(host, clusters));
    if (clusters == 0) co_return false;
  } else {
    CO_TRY(host, co_await refcounts_.allocate(clusters));
    if (host.value == 0)
      co_return os_error(EIO, "Preventing invalid allocation of data cluster at offset 0");
    piece.host = geometry_.start_of(host) + geometry_.within(at);
    piece.copy_head = true;
  }
  piece.allocated.emplace_back(host, clusters);
  piece.link = piece.copy_tail = true;
  piece.length += std::min(length, clusters * cluster_size() - geometry_.within(at));
  co_return true;
}

// Data and what surrounds it.
Task<Result<>> Image::store(GuestOffset at, Bytes from, const Piece& piece) {
  if (!from.empty()) CO_TRY_OK(co_await file_->write(piece.host.value, from));
  if (!piece.link) co_return ok();
  const std::uint64_t head = geometry_.within(at);
  const GuestOffset end = at + piece.length;
  const std::uint64_t over = geometry_.within(end);
  if (piece.copy_head && head > 0)
    CO_TRY_OK(co_await fill({at.value - head}, head, {piece.host.value - head}));
  if (piece.copy_tail && over > 0)
    CO_TRY_OK(co_await fill(end, cluster_size() - over, piece.host + piece.length));
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
    if (extent.kind == Extent::Kind::zero ||
        (extent.kind == Extent::Kind::absent && backing_ == nullptr)) {
      CO_TRY_OK(co_await file_->write_zeroes(to.value, extent.length, false));
    } else {
      extent.length = std::min(extent.length, kBufferBytes);
      if (!buffer) buffer = std::make_unique_for_overwrite<std::byte[]>(extent.length);
      const MutableBytes part(buffer.get(), extent.length);
      CO_TRY_OK(co_await read_piece(found, from, part));
      CO_TRY_OK(co_await file_->write(to.value, part));
    }
    from = from + extent.length;
    to = to + extent.length;
    length -= extent.length;
  }
  co_return ok();
}

// Sets the entries.  If that fails half way, clusters may leak, but none is freed that an entry
// refers to.
Task<Result<>> Image::link(GuestOffset at, const Piece& piece) {
  const auto held = co_await lock_.lock();
  tables_.data_written();
  const GuestCluster first = geometry_.cluster_of(at);
  const std::uint64_t head = geometry_.within(at);
  const std::uint64_t clusters = geometry_.clusters_for(head + piece.length);
  std::vector<L2Entry> replaced;  // what this image no longer uses
  for (std::uint64_t i = 0; i < clusters; ++i) {
    const std::uint64_t host = piece.host.value - head + (i << geometry_.cluster_bits);
    CO_TRY(const L2Entry old, co_await entry(first + i));
    if (old.compressed() || (format_.placed(old) && old.host().value != host))
      replaced.push_back(old);
    CO_TRY_OK(co_await set_entry(first + i, {.word = host | format::kCopied}));
  }
  for (const L2Entry old : replaced) CO_TRY_OK(co_await release_entry(old, false));
  co_return ok();
}

// Frees what was allocated for a piece that could not be stored.  With lock_ held.
Task<Result<>> Image::give_back(const Piece& piece) {
  for (const auto& [first, clusters] : piece.allocated)
    CO_TRY_OK(co_await refcounts_.release(first, clusters, false));
  co_return ok();
}

}  // namespace sim::qcow2
