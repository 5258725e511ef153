#include "sim/image/preallocated.h"

#include <algorithm>
#include <vector>

#include "sim/qcow2/format.h"

namespace sim::image {

namespace {

// Counts of a block that are not 0, `width` bits each, among the first `entries`.
std::uint64_t count_used(Bytes block, std::uint64_t width, std::uint64_t entries) {
  std::uint64_t used = 0;
  for (std::uint64_t i = 0; i < entries; ++i) {
    if (width < 8) {
      const auto byte = std::to_integer<unsigned>(block[i * width / 8]);
      used += (byte >> (i * width % 8) & ((1U << width) - 1)) != 0;
    } else {
      used += !all_zero(block.subspan(i * width / 8, width / 8));
    }
  }
  return used;
}

}  // namespace

Task<Result<bool>> is_preallocated(storage::Storage& file, const qcow2::Header& header) {
  const qcow2::Geometry geometry = header.geometry();
  const std::uint64_t clusters = geometry.clusters_for(file.size());
  const std::uint64_t stored = file.allocated() / geometry.cluster_bytes();
  const std::uint64_t enough = std::max(stored * 10 / 9, stored + 2);
  if (clusters < enough) co_return false;
  const std::uint64_t width = std::uint64_t{1} << header.refcount_order;
  const std::uint64_t entries = geometry.cluster_bytes() * 8 / width;
  const std::uint64_t table_entries =
      header.refcount_table_clusters * geometry.cluster_bytes() / qcow2::format::kEntryBytes;
  std::vector<std::byte> table(std::min(table_entries, div_up(clusters, entries)) *
                               qcow2::format::kEntryBytes);
  std::vector<std::byte> block(geometry.cluster_bytes());
  CO_TRY_OK(co_await file.read(header.refcount_table_offset.value, table));
  std::uint64_t used = 0;
  for (std::uint64_t i = 0; i * qcow2::format::kEntryBytes < table.size() && used < enough; ++i) {
    const std::uint64_t at = load_be<std::uint64_t>(table, i * qcow2::format::kEntryBytes) &
                             qcow2::format::kBlockOffsetMask;
    if (at == 0 || at >= file.size()) continue;
    CO_TRY_OK(co_await file.read(at, block));
    used += count_used(block, width, std::min(entries, clusters - i * entries));
  }
  co_return used >= enough;
}

}  // namespace sim::image
