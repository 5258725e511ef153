// Zero writes and discards.

#include <algorithm>
#include <vector>

#include "sim/base/check.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

using Kind = L2Format::Kind;

Task<Result<>> Image::write_zeroes(GuestOffset at, std::uint64_t length, bool unmap) {
  CO_TRY_OK(check_change(at, length));
  note_change(at, length);
  Result<> done = co_await zero_sectors(at, length, unmap);
  co_return co_await settle(std::move(done));
}

// Parts of sectors of an encrypted image are written as data, as QEMU does (measured on 7.2).
Task<Result<>> Image::zero_sectors(GuestOffset at, std::uint64_t length, bool unmap) {
  const GuestOffset end = at + length;
  const GuestOffset first{align_up(at.value, format::kSector)};
  const GuestOffset last{align_down(end.value, format::kSector)};
  if (!encrypted() || length == 0 || (at == first && end == last))
    co_return co_await zero_range(at, length, unmap);
  if (first >= last) co_return co_await write_plain_zeroes(at, length);
  if (at < first) CO_TRY_OK(co_await write_plain_zeroes(at, first.value - at.value));
  CO_TRY_OK(co_await zero_range(first, last.value - first.value, unmap));
  if (last < end) CO_TRY_OK(co_await write_plain_zeroes(last, end.value - last.value));
  co_return ok();
}

// As QEMU cuts it: a part up to the first whole subcluster, whole ones, the rest.
Task<Result<>> Image::zero_range(GuestOffset at, std::uint64_t length, bool unmap) {
  const std::uint64_t unit = geometry_.subcluster_bytes();
  const std::uint64_t end = at.value + length;
  while (at.value < end) {
    std::uint64_t part = end - at.value;
    if (const std::uint64_t head = at.value % unit; head != 0)
      part = std::min(part, unit - head);
    else if (part > unit)
      part = align_down(part, unit);
    CO_TRY(const bool done, co_await zero_part(at, part, unmap));
    if (!done) {
      part = std::min(part, format::kZeroBufferBytes);
      CO_TRY_OK(co_await write_plain_zeroes(at, part));
    }
    at = at + part;
  }
  co_return ok();
}

Task<Result<>> Image::write_plain_zeroes(GuestOffset at, std::uint64_t length) {
  const std::vector<std::byte> zeroes(length);
  co_return co_await write_at(at, zeroes);
}

// Whole subclusters, or a part of one; false if they must be written as data.  Of a part, the rest
// must read as zero.
Task<Result<bool>> Image::zero_part(GuestOffset at, std::uint64_t length, bool unmap) {
  const std::uint64_t unit = geometry_.subcluster_bytes();
  const GuestOffset first{align_down(at.value, unit)};
  const std::uint64_t end = at.value + length;
  if (at == first && (is_aligned(end, unit) || end == size_)) {
    const auto held = co_await lock_landed(at, length);
    co_return co_await zero_aligned(at, length, unmap);
  }
  CO_TRY(const bool rest, co_await rest_is_zero(at, length));
  if (!rest) co_return false;
  const auto held = co_await lock_landed(first, unit);
  CO_TRY(const Mapping now, co_await mapping(first, 1));  // it may have been written meanwhile
  if (now.extent.kind != Kind::absent && now.extent.kind != Kind::zero) co_return false;
  co_return co_await zero_aligned(first, unit, unmap);
}

// True if the bytes of the subcluster around the range are known to read as zero.
Task<Result<bool>> Image::rest_is_zero(GuestOffset at, std::uint64_t length) {
  {
    const auto held = co_await lock_.lock();
    CO_TRY(const Mapping present, co_await mapping(at, 1));
    const Kind kind = present.extent.kind;
    if (kind == Kind::data || kind == Kind::compressed) co_return false;
    if (kind == Kind::zero || backing_ == nullptr) co_return true;
  }
  const std::uint64_t unit = geometry_.subcluster_bytes();
  const std::uint64_t first = align_down(at.value, unit);
  const std::uint64_t end = std::min(first + unit, size_);
  const std::uint64_t head_end = std::min(align_up(at.value, format::kSector), end);
  const std::uint64_t tail = align_down(at.value + length, format::kSector);
  if (at.value > first) {
    CO_TRY(const bool zero, co_await backing_->reads_as_zero(first, head_end - first));
    if (!zero) co_return false;
  }
  if (at.value + length >= end) co_return true;
  co_return co_await backing_->reads_as_zero(tail, end - tail);
}

// Whole subclusters; the last may be cut by the end of the disk.  False if they must be written as
// data.  With lock_ held and nothing in flight over the clusters.
Task<Result<bool>> Image::zero_aligned(GuestOffset at, std::uint64_t length, bool unmap) {
  if (header_.has_raw_data_file()) CO_TRY_OK(co_await zero_raw_data({at.value}, length));
  if (!format_.zero_flag) {
    if (backing_ != nullptr) co_return false;
    CO_TRY_OK(co_await discard_clusters(geometry_.cluster_of(at), geometry_.clusters_for(length)));
    co_return true;
  }
  std::uint64_t end = at.value + length;
  const std::uint64_t head =
      std::min(end, align_up(at.value, cluster_size())) - at.value;  // up to a whole cluster
  if (head > 0) {
    CO_TRY(const bool done, co_await zero_subclusters(at, head));
    if (!done) co_return false;
    at = at + head;
  }
  std::uint64_t tail = 0;
  if (end < size_) tail = end - std::max(at.value, align_down(end, cluster_size()));
  end -= tail;
  CO_TRY_OK(co_await zero_clusters(geometry_.cluster_of(at), geometry_.clusters_for(end - at.value),
                                   unmap));
  if (tail == 0) co_return true;
  co_return co_await zero_subclusters({end}, tail);
}

// Whole subclusters of one cluster; false if it is compressed.
Task<Result<bool>> Image::zero_subclusters(GuestOffset at, std::uint64_t length) {
  const GuestCluster cluster = geometry_.cluster_of(at);
  CO_TRY(const L2Entry old, co_await entry(cluster));
  CO_TRY_OK(check_entry(cluster, old));
  if (old.compressed()) co_return false;
  const std::uint64_t first = geometry_.within(at) / geometry_.subcluster_bytes();
  const std::uint64_t count = div_up(length, geometry_.subcluster_bytes());
  const std::uint64_t range = ((std::uint64_t{1} << count) - 1) << first;
  L2Entry now = old;
  now.bitmap = (now.bitmap | range << format::kSubclusters) & ~range;
  if (now != old) CO_TRY_OK(co_await set_entry(cluster, now));
  co_return true;
}

// The entry of a cluster that reads as zeroes and has no place.
static L2Entry plain_zero(const L2Format& rules) {
  if (!rules.zero_flag) return {};
  if (rules.geometry.extended_l2) return {.bitmap = format::kAllZeroes};
  return {.word = format::kZero};
}

// With lock_ held and nothing in flight over the clusters.
Task<Result<>> Image::zero_clusters(GuestCluster first, std::uint64_t count, bool unmap) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const GuestCluster cluster = first + i;
    CO_TRY(const L2Entry old, co_await entry(cluster));
    CO_TRY_OK(check_entry(cluster, old));
    const bool emptied = unmap && format_.placed(old) && !old.compressed();
    const bool gives_up = old.compressed() || (emptied && !discard_keeps_place);
    const L2Entry zero = plain_zero(format_);
    const L2Entry now{.word = (gives_up ? 0 : old.word) | zero.word, .bitmap = zero.bitmap};
    if (now == old) continue;
    CO_TRY_OK(co_await set_entry(cluster, now));
    if (gives_up)
      CO_TRY_OK(co_await release_entry(old, pass_discard_request));
    else if (emptied)
      CO_TRY_OK(co_await discard_kept(old));
  }
  co_return ok();
}

Task<Result<>> Image::discard(GuestOffset at, std::uint64_t length) {
  CO_TRY_OK(check_change(at, length));
  // QEMU: without the zero flag the backing would show through.
  if (!format_.zero_flag && backing_ != nullptr) co_return ok();
  note_change(at, length);
  const std::uint64_t first = align_up(at.value, cluster_size());
  std::uint64_t end = at.value + length;
  if (end != size_) end = align_down(end, cluster_size());
  if (first >= end) co_return ok();
  Result<> done = ok();
  {
    const auto held = co_await lock_landed({first}, end - first);
    done = co_await discard_clusters(geometry_.cluster_of(GuestOffset{first}),
                                     geometry_.clusters_for(end - first));
  }
  co_return co_await settle(std::move(done));
}

// What is discarded must not let the backing show through, so it becomes zero rather than absent.
// With lock_ held and nothing in flight over the clusters.
Task<Result<>> Image::discard_clusters(GuestCluster first, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const GuestCluster cluster = first + i;
    CO_TRY(const L2Entry old, co_await entry(cluster));
    CO_TRY_OK(check_entry(cluster, old));
    const bool allocated = old.compressed() || format_.placed(old);
    const bool keeps = discard_keeps_place && !old.compressed();
    L2Entry now = plain_zero(format_);
    if (keeps) now.word |= old.word;
    if (old == now || (!allocated && backing_ == nullptr)) continue;
    CO_TRY_OK(co_await set_entry(cluster, now));
    if (keeps)
      CO_TRY_OK(co_await discard_kept(old));
    else
      CO_TRY_OK(co_await release_entry(old, pass_discard_request));
  }
  co_return ok();
}

}  // namespace sim::qcow2
