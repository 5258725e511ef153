// Zero writes and discards.

#include <algorithm>
#include <vector>

#include "sim/base/check.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

Task<Result<>> Image::write_zeroes(GuestOffset at, std::uint64_t length, bool unmap) {
  CO_TRY_OK(check_change(at, length));
  note_change(at, length);
  const std::uint64_t end = at.value + length;
  while (at.value < end) {
    const std::uint64_t within = geometry_.within(at);
    std::uint64_t part = std::min(end - at.value, cluster_size() - within);
    const bool whole = within == 0 && (part == cluster_size() || at.value + part == size_);
    if (whole) {  // as many as there are
      const std::uint64_t stop = end == size_ ? end : align_down(end, cluster_size());
      part = stop - at.value;
      const auto held = co_await lock_landed(at, part);
      CO_TRY_OK(
          co_await zero_clusters(geometry_.cluster_of(at), geometry_.clusters_for(part), unmap));
    } else {
      CO_TRY_OK(co_await zero_part(at, part, unmap));
    }
    at = at + part;
  }
  co_return ok();
}

// A part of one cluster: the zero flag will do if the rest of it reads as zero, else data.
Task<Result<>> Image::zero_part(GuestOffset at, std::uint64_t length, bool unmap) {
  CO_TRY(const bool rest, co_await rest_is_zero(at, length));
  if (rest) {
    const auto held = co_await lock_landed(at, length);
    CO_TRY(const Mapping now, co_await mapping(at, 1));  // it may have been written meanwhile
    if (now.extent.kind == Extent::Kind::absent || now.extent.kind == Extent::Kind::zero)
      co_return co_await zero_clusters(geometry_.cluster_of(at), 1, unmap);
  }
  const std::vector<std::byte> zeroes(length);
  co_return co_await write(at, zeroes);
}

// True if the bytes of the cluster around the range are known to read as zero.
Task<Result<bool>> Image::rest_is_zero(GuestOffset at, std::uint64_t length) {
  {
    const auto held = co_await lock_.lock();
    CO_TRY(const Mapping present, co_await mapping(at, 1));
    if (present.extent.kind == Extent::Kind::data) co_return false;
    if (present.extent.kind == Extent::Kind::compressed) co_return false;
    if (present.extent.kind == Extent::Kind::zero || backing_ == nullptr) co_return true;
  }
  const std::uint64_t first = align_down(at.value, cluster_size());
  const std::uint64_t end = std::min(first + cluster_size(), size_);
  const std::uint64_t head_end = std::min(align_up(at.value, format::kSector), end);
  const std::uint64_t tail = align_down(at.value + length, format::kSector);
  if (at.value > first) {
    CO_TRY(const bool zero, co_await backing_->reads_as_zero(first, head_end - first));
    if (!zero) co_return false;
  }
  if (at.value + length >= end) co_return true;
  co_return co_await backing_->reads_as_zero(tail, end - tail);
}

// With lock_ held and nothing in flight over the clusters.
Task<Result<>> Image::zero_clusters(GuestCluster first, std::uint64_t count, bool unmap) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const GuestCluster cluster = first + i;
    CO_TRY(const L2Entry old, co_await entry(cluster));
    CO_TRY_OK(decode(cluster, old));
    const bool gives_up = old.compressed() || (unmap && format_.placed(old));
    const L2Entry now{.word = (gives_up ? 0 : old.word) | format::kZero};
    if (now == old) continue;
    CO_TRY_OK(co_await set_entry(cluster, now));
    if (gives_up) CO_TRY_OK(co_await release_entry(old, true));
  }
  co_return ok();
}

Task<Result<>> Image::discard(GuestOffset at, std::uint64_t length) {
  CO_TRY_OK(check_change(at, length));
  const std::uint64_t first = align_up(at.value, cluster_size());
  std::uint64_t end = at.value + length;
  if (end != size_) end = align_down(end, cluster_size());
  if (first >= end) co_return ok();
  note_change({first}, end - first);
  const auto held = co_await lock_landed({first}, end - first);
  co_return co_await discard_clusters(geometry_.cluster_of(GuestOffset{first}),
                                      geometry_.clusters_for(end - first));
}

// What is discarded must not let the backing show through, so it becomes zero rather than absent.
// With lock_ held and nothing in flight over the clusters.
Task<Result<>> Image::discard_clusters(GuestCluster first, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const GuestCluster cluster = first + i;
    CO_TRY(const L2Entry old, co_await entry(cluster));
    CO_TRY_OK(decode(cluster, old));
    const bool allocated = old.compressed() || format_.placed(old);
    const L2Entry now{.word = format::kZero};
    if (old == now || (!allocated && backing_ == nullptr)) continue;
    CO_TRY_OK(co_await set_entry(cluster, now));
    CO_TRY_OK(co_await release_entry(old, true));
  }
  co_return ok();
}

}  // namespace sim::qcow2
