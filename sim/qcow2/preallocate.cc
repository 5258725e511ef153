// Allocating what the guest has not written yet (QAPI: PreallocMode).

#include <algorithm>
#include <optional>

#include "sim/base/check.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

// Zeroes that take space in `file`: reserved (falloc), or written as they are (full).
static Task<Result<>> fill_with_zeroes(storage::Storage& file, std::uint64_t from,
                                       std::uint64_t end, Preallocation preallocation) {
  if (from >= end) co_return ok();
  if (preallocation == Preallocation::falloc)
    co_return co_await file.write_zeroes(from, end - from, false);
  const std::vector<std::byte> zeroes(std::min<std::uint64_t>(end - from, 1_MiB));
  while (from < end) {
    const Bytes part = Bytes(zeroes).first(std::min<std::uint64_t>(zeroes.size(), end - from));
    CO_TRY_OK(co_await file.write(from, part));
    from += part.size();
  }
  co_return ok();
}

// As if the guest had written all of [from, end), without its bytes.
Task<Result<>> Image::preallocate_metadata(GuestOffset from, std::uint64_t end,
                                           Preallocation preallocation) {
  std::uint64_t data_end = 0;
  for (GuestOffset at = from; at.value < end;) {
    std::optional<Mutex::Held> held(co_await lock_.lock());
    CO_TRY(const Piece piece, co_await map_for_write(at, end - at.value));
    const Flight flight(*this, at, piece.length, piece.link);
    held.reset();
    data_end = piece.host.value + piece.length;
    if (piece.link) {
      auto linked = co_await store(at, {}, piece);  // what surrounds it
      if (linked.ok()) linked = co_await link_unwritten(at, piece);
      if (!linked) co_return linked;
    }
    at = at + piece.length;
  }
  storage::Storage& data = options_.data_file ? *options_.data_file : *file_;
  if (data.size() >= data_end) co_return ok();
  if (preallocation == Preallocation::metadata) co_return co_await data.truncate(data_end);
  co_return co_await fill_with_zeroes(data, data.size(), data_end, preallocation);
}

Task<Result<>> Image::link_unwritten(GuestOffset at, const Piece& piece) {
  const auto held = co_await lock_.lock();
  const GuestCluster first = geometry_.cluster_of(at);
  const HostOffset host{piece.host.value - geometry_.within(at)};
  const std::uint64_t clusters = geometry_.clusters_for(geometry_.within(at) + piece.length);
  co_return co_await place_clusters(first, geometry_.cluster_of(host), clusters, 0);
}

// Lets the clusters from `first` on lie at `host`, and of their subclusters be allocated what
// `allocated` says or was before.  With lock_ held.
Task<Result<>> Image::place_clusters(GuestCluster first, HostCluster host, std::uint64_t clusters,
                                     std::uint64_t allocated) {
  for (std::uint64_t i = 0; i < clusters; ++i) {
    CO_TRY(const L2Entry old, co_await entry(first + i));
    L2Entry now{.word = geometry_.start_of(host + i).value | format::kCopied};
    if (geometry_.extended_l2) now.bitmap = (old.compressed() ? 0 : old.bitmap) | allocated;
    if (now == old) continue;
    CO_TRY_OK(co_await set_entry(first + i, now));
    if (old.compressed() || (format_.placed(old) && geometry_.cluster_of(old.host()) != host + i))
      CO_TRY_OK(co_await release_entry(old, false));
  }
  co_return ok();
}

// Clusters for [from, end) behind everything else in the file, adjacent, and all there.
Task<Result<>> Image::preallocate_data(GuestOffset from, std::uint64_t end,
                                       Preallocation preallocation, bool hides_backing) {
  const GuestCluster first = geometry_.cluster_of(from);
  const std::uint64_t clusters = geometry_.clusters_for(end) - first.value;
  const std::uint64_t tables = div_up(clusters, geometry_.l2_entries()) + 1;
  HostCluster start;
  {
    const auto held = co_await lock_.lock();
    const std::uint64_t used = geometry_.clusters_for(file_->size());
    CO_TRY(const auto last, co_await refcounts_.last_in_use(used));
    const HostCluster free{last ? last->value + 1 : used};
    auto reserved = co_await refcounts_.reserve_area(free, clusters + tables);
    if (!reserved)
      co_return os_error(reserved.error().number, "Failed to resize refcount structures");
    start = *reserved;
    auto taken = co_await refcounts_.allocate_at(start, clusters);
    if (taken.ok() && *taken != clusters) taken = os_error(EIO);
    if (!taken) co_return os_error(taken.error().number, "Failed to allocate data clusters");
  }
  auto filled =
      co_await fill_with_zeroes(*file_, geometry_.start_of(start).value,
                                geometry_.start_of(start + clusters).value, preallocation);
  if (!filled) co_return os_error(filled.error().number, "Failed to resize underlying file");
  if (geometry_.within(from) != 0)
    CO_TRY_OK(co_await fill(geometry_.start_of(first), geometry_.within(from),
                            geometry_.start_of(start)));
  const auto held = co_await lock_.lock();
  const std::uint64_t all = (std::uint64_t{1} << format::kSubclusters) - 1;
  co_return co_await place_clusters(first, start, clusters, hides_backing ? all : 0);
}

}  // namespace sim::qcow2
