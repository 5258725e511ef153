// The refcount structures as a whole: a larger table, a smaller one, where the counted part ends.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/qcow2/format.h"
#include "sim/qcow2/refcounts.h"

namespace sim::qcow2 {

// Blocks of a refcount table that counts `clusters` clusters, its own and the table's included;
// `generous`: with room to spare for half of the table.
static std::uint64_t blocks_for(std::uint64_t clusters, std::uint64_t per_block,
                                std::uint64_t entries_per_cluster, bool generous) {
  std::uint64_t blocks = 0, table = 0, last = 0, total = 0;
  do {
    last = total;
    blocks = div_up(clusters + table + blocks, per_block);
    table = div_up(blocks, entries_per_cluster);
    total = clusters + blocks + table;
    if (total == last && generous) {
      clusters += div_up(table, 2);
      total = 0;
      generous = false;
    }
  } while (total != last);
  return blocks;
}

// The table is full: an area at the next block boundary takes a larger one.  `new_block` counts
// `needed` and is in no table yet.
Task<Result<>> Refcounts::grow_table(HostCluster needed, HostCluster new_block) {
  if (tables_.observed()) co_await tables_.tell("reftable_grow");
  const std::uint64_t used = div_up(std::max(needed.value + 1, new_block.value), per_block());
  const HostCluster start{used * per_block()};
  const std::uint64_t blocks =
      blocks_for(start.value, per_block(), entries_per_cluster(), /*generous=*/true);
  auto made = co_await make_area(start, blocks, blocks + div_up(blocks, 2),
                                 std::pair{needed.value / per_block(), new_block});
  if (!made) co_return std::move(made).error();
  co_return ok();
}

Task<Result<HostCluster>> Refcounts::reserve_area(HostCluster start, std::uint64_t clusters) {
  const auto total = checked_add(start.value, clusters);
  if (!total || *total > format::kHostOffsetEnd >> geometry_.cluster_bits)
    co_return os_error(EFBIG);
  const std::uint64_t blocks =
      blocks_for(*total, per_block(), entries_per_cluster(), /*generous=*/false);
  co_return co_await make_area(start, blocks, blocks, std::nullopt);
}

// A table of `entries` entries, of which the first `blocks` are to have blocks.  The missing ones
// are put at `start`, the table behind them; then the header is switched over.
Task<Result<HostCluster>> Refcounts::make_area(
    HostCluster start, std::uint64_t blocks, std::uint64_t entries,
    std::optional<std::pair<std::uint64_t, HostCluster>> new_block) {
  const std::uint64_t clusters = div_up(entries, entries_per_cluster());
  const std::uint64_t bytes = clusters * geometry_.cluster_bytes();
  if (bytes > format::kRefcountTableBytesMax) co_return os_error(EFBIG);
  CO_TRY_OK(co_await tables_.write_back());
  std::vector<std::byte> table(bytes);
  const std::uint64_t old_bytes = table_entries() * format::kEntryBytes;
  CO_TRY_OK(co_await file_.read(header_.refcount_table_offset.value,
                                MutableBytes(table).first(std::min(bytes, old_bytes))));
  if (new_block)
    store_be(MutableBytes(table), new_block->first * format::kEntryBytes,
             geometry_.start_of(new_block->second).value);
  HostCluster at = start;  // first the blocks that are missing, then the table
  for (std::uint64_t i = start.value / per_block(); i < blocks; ++i) {
    if (load_be<std::uint64_t>(table, i * format::kEntryBytes) != 0) continue;
    CO_TRY_OK(tables_.metadata().check(at, at + 1));
    CO_TRY_OK(co_await tables_.make_table(geometry_.start_of(at), Tables::Kind::refcount_block));
    tables_.metadata().add_table(Metadata::Kind::refcount_block, at);
    store_be(MutableBytes(table), i * format::kEntryBytes, geometry_.start_of(at).value);
    at = at + 1;
  }
  CO_TRY_OK(co_await count_area(table, start, at + clusters));
  const bool observed = tables_.observed();
  if (observed) co_await tables_.tell("refblock_alloc_write_blocks");
  CO_TRY_OK(co_await (observed ? tables_.flush() : tables_.write_back()));
  CO_TRY_OK(tables_.metadata().check(at, at + clusters));
  if (observed) co_await tables_.tell("refblock_alloc_write_table");
  tables_.forget(geometry_.start_of(at), clusters);
  if (!observed) CO_TRY_OK(co_await tables_.make_zero(geometry_.start_of(at), clusters));
  CO_TRY_OK(co_await file_.write(geometry_.start_of(at).value, table));
  CO_TRY_OK(co_await file_.flush());
  CO_TRY_OK(co_await switch_table(at, clusters));
  co_return at + clusters;
}

// Sets the counts of [start, end), which blocks of `table` hold, to 1.
Task<Result<>> Refcounts::count_area(Bytes table, HostCluster start, HostCluster end) {
  for (HostCluster cluster = start; cluster < end; cluster = cluster + 1) {
    const HostOffset block{
        load_be<std::uint64_t>(table, cluster.value / per_block() * format::kEntryBytes)};
    if (geometry_.within(block) != 0)
      co_return tables_.metadata().report(
          fmt::format("Refblock offset {:#x} unaligned (reftable index: {:#x})", block.value,
                      cluster.value / per_block()));
    CO_TRY(const Place place, co_await place_of(block, cluster));
    store(place, 1);
  }
  co_return ok();
}

Task<Result<>> Refcounts::switch_table(HostCluster table, std::uint64_t clusters) {
  const HostOffset offset = geometry_.start_of(table);
  std::array<std::byte, 12> fields{};
  store_be(MutableBytes(fields), 0, offset.value);
  store_be(MutableBytes(fields), 8, static_cast<std::uint32_t>(clusters));
  static_assert(format::at::refcount_table_clusters == format::at::refcount_table_offset + 8);
  if (tables_.observed()) co_await tables_.tell("refblock_alloc_switch_table");
  CO_TRY_OK(co_await file_.write(format::at::refcount_table_offset, fields));
  CO_TRY_OK(co_await file_.flush());
  const HostOffset old = std::exchange(header_.refcount_table_offset, offset);
  const std::uint64_t old_clusters =
      std::exchange(header_.refcount_table_clusters, static_cast<std::uint32_t>(clusters));
  tables_.forget(old, old_clusters);
  tables_.metadata().move_area(Metadata::Kind::refcount_table, table, clusters);
  co_return co_await release(geometry_.cluster_of(old), old_clusters, false);
}

Task<Result<std::optional<HostCluster>>> Refcounts::last_in_use(std::uint64_t clusters) {
  clusters = std::min(clusters, table_entries() * per_block());
  while (clusters > 0) {
    const HostCluster last{clusters - 1};
    const std::uint64_t first_of_block = align_down(last.value, per_block());
    CO_TRY(const HostOffset block, co_await block_of(last));
    if (block.value == 0) {
      clusters = first_of_block;
      continue;
    }
    for (; clusters > first_of_block; --clusters) {
      CO_TRY(const Place place, co_await place_of(block, {clusters - 1}));
      if (load(place) != 0) co_return HostCluster{clusters - 1};
    }
  }
  co_return std::nullopt;
}

// True if `block` counts nothing but itself.
Task<Result<bool>> Refcounts::is_idle(HostOffset block, std::uint64_t index) {
  const HostCluster own = geometry_.cluster_of(block);
  if (block.value >= file_.size()) co_return true;
  for (std::uint64_t at = 0; at < geometry_.cluster_bytes(); at += tables_.slice_bytes()) {
    CO_TRY(const Tables::Slice* slice,
           co_await tables_.slice(block + at, Tables::Kind::refcount_block));
    if (all_zero(Bytes(slice->bytes).first(tables_.slice_bytes()))) continue;
    if (own.value / per_block() != index) co_return false;
    CO_TRY(const Place place, co_await place_of(block, own));
    if (place.slice != slice) co_return false;
    const std::uint64_t count = load(place);
    store(place, 0);
    const bool zero = all_zero(Bytes(slice->bytes).first(tables_.slice_bytes()));
    store(place, count);
    if (!zero) co_return false;
  }
  co_return true;
}

// What goes over all blocks must not be made endless by a table that names the same ones again and
// again.
Task<Result<>> Refcounts::check_table() {
  std::uint64_t blocks = 0;
  for (std::uint64_t i = 0; i < table_entries(); ++i) {
    CO_TRY(const HostOffset block, co_await block_of({i * per_block()}));
    if (block.value != 0) ++blocks;
  }
  if (blocks <= geometry_.clusters_for(file_.size())) co_return ok();
  co_return os_error(EIO, fmt::format("Refcount table at {:#x}: {} blocks, more than the file has "
                                      "clusters; `check -r all` makes a new one",
                                      header_.refcount_table_offset.value, blocks));
}

Task<Result<>> Refcounts::drop_idle_blocks() {
  CO_TRY_OK(co_await check_table());
  CO_TRY_OK(co_await tables_.flush());
  for (std::uint64_t i = 0; i < table_entries(); ++i) {
    const HostCluster counted{i * per_block()};
    CO_TRY(const HostOffset block, co_await block_of(counted));
    if (block.value == 0) continue;
    CO_TRY(const bool idle, co_await is_idle(block, i));
    if (!idle) continue;
    CO_TRY_OK(co_await tables_.set_entry(header_.refcount_table_offset + i * format::kEntryBytes, 0,
                                         Tables::Kind::refcount_table));
    CO_TRY_OK(co_await tables_.flush());
    const HostCluster own = geometry_.cluster_of(block);
    tables_.forget(block, 1);
    tables_.metadata().remove_table(Metadata::Kind::refcount_block, own);
    if (own.value / per_block() != i) {
      CO_TRY_OK(co_await release(own, 1, true));
      continue;
    }
    cursor_ = std::min(cursor_, own.value);
    (void)co_await file_.discard(block.value, geometry_.cluster_bytes());
  }
  co_return ok();
}

}  // namespace sim::qcow2
