// Another width of the counts: all blocks and the table are made anew (qemu-img amend).

#include <fmt/format.h>

#include <algorithm>

#include "sim/base/check.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/refcounts.h"
#include "sim/qcow2/stored_count.h"

namespace sim::qcow2 {

// Calls `see` with every count of [first, first + clusters) that is not 0; false from it ends that.
template <class See>
Task<Result<>> Refcounts::for_each_count(std::uint64_t first, std::uint64_t clusters, See see) {
  const std::uint64_t per_slice = (tables_.slice_bytes() * 8) >> order_;
  const std::uint64_t end = first + clusters;
  for (std::uint64_t at = first; at < end;) {
    CO_TRY(const HostOffset block, co_await block_of({at}));
    if (block.value == 0) {
      at = align_down(at, per_block()) + per_block();
      continue;
    }
    CO_TRY(const Place place, co_await place_of(block, {at}));
    const std::uint64_t some = std::min(per_slice - place.index, end - at);
    for (std::uint64_t i = 0; i < some; ++i) {
      const std::uint64_t count = load_count(place.slice->bytes, place.index + i, order_);
      if (count != 0 && !see(at + i, count)) co_return ok();
    }
    at += some;
  }
  co_return ok();
}

// Finds out which blocks of the new width hold a count, and allocates those that are missing in
// `table`.  What that allocates is counted, too, so that the next pass may find more.
Task<Result<bool>> Refcounts::allocate_blocks(std::uint32_t order,
                                              std::vector<std::uint64_t>& table) {
  const std::uint64_t per_new_block = (geometry_.cluster_bytes() * 8) >> order;
  bool allocated = false;
  for (std::uint64_t i = 0; i * per_new_block < table_entries() * per_block(); ++i) {
    CO_TRY(const HostOffset block, co_await block_of({i * per_new_block}));
    if (block.value == 0 && per_new_block <= per_block()) {  // nothing is counted up to its end
      i = (align_down(i * per_new_block, per_block()) + per_block()) / per_new_block - 1;
      continue;
    }
    bool used = false;
    std::optional<std::pair<std::uint64_t, std::uint64_t>> too_high;
    CO_TRY_OK(co_await for_each_count(i * per_new_block, per_new_block,
                                      [&](std::uint64_t cluster, std::uint64_t count) {
                                        used = true;
                                        if (count <= count_limit(order)) return true;
                                        too_high = {cluster, count};
                                        return false;
                                      }));
    if (too_high)
      co_return Error{
          ErrorClass::generic,
          fmt::format("Cannot decrease refcount entry width to {} bits: Cluster at offset {:#x} "
                      "has a refcount of {}",
                      1U << order, too_high->first << geometry_.cluster_bits, too_high->second),
          EINVAL};
    if (!used) continue;
    if (i >= table.size()) {
      table.resize(align_up(i + 1, entries_per_cluster()));
      if (table.size() * format::kEntryBytes > format::kRefcountTableBytesMax)
        co_return Error{ErrorClass::generic,
                        "This operation would make the refcount table grow beyond the maximum size "
                        "supported by QEMU, aborting the operation",
                        ENOTSUP};
    }
    if (table[i] != 0) continue;
    CO_TRY(const HostCluster made, co_await allocate(1));
    table[i] = geometry_.start_of(made).value;
    allocated = true;
  }
  co_return allocated;
}

Task<Result<>> Refcounts::write_blocks(std::uint32_t order,
                                       const std::vector<std::uint64_t>& table) {
  const std::uint64_t per_new_block = (geometry_.cluster_bytes() * 8) >> order;
  std::vector<std::byte> block(geometry_.cluster_bytes());
  for (std::uint64_t i = 0; i < table.size(); ++i) {
    if (table[i] == 0) continue;
    std::ranges::fill(block, std::byte{0});
    CO_TRY_OK(co_await for_each_count(i * per_new_block, per_new_block,
                                      [&](std::uint64_t cluster, std::uint64_t count) {
                                        store_count(block, cluster % per_new_block, order, count);
                                        return true;
                                      }));
    tables_.forget({table[i]}, 1);
    CO_TRY_OK(co_await file_.write(table[i], block));
  }
  co_return ok();
}

Task<Result<HostOffset>> Refcounts::write_table(HostOffset at,
                                                const std::vector<std::uint64_t>& table) {
  std::vector<std::byte> bytes(table.size() * format::kEntryBytes);
  for (std::size_t i = 0; i < table.size(); ++i)
    store_be(MutableBytes(bytes), i * format::kEntryBytes, table[i]);
  tables_.forget(at, geometry_.clusters_for(bytes.size()));
  CO_TRY_OK(co_await file_.write(at.value, bytes));
  CO_TRY_OK(co_await tables_.flush());
  co_return at;
}

Task<Result<Refcounts::Structures>> Refcounts::prepare_width(std::uint32_t order) {
  CO_TRY_OK(co_await check_table());
  std::vector<std::uint64_t> table;
  HostOffset place;
  std::uint64_t placed = 0;  // clusters at `place`
  for (;;) {
    CO_TRY(const bool allocated, co_await allocate_blocks(order, table));
    if (!allocated) break;
    if (placed != 0) CO_TRY_OK(co_await release(geometry_.cluster_of(place), placed, false));
    placed = table.size() / entries_per_cluster();
    CO_TRY(const HostCluster made, co_await allocate(placed));
    place = geometry_.start_of(made);
  }
  CO_TRY_OK(co_await tables_.write_back());
  CO_TRY_OK(co_await write_blocks(order, table));
  CO_TRY_OK(co_await write_table(place, table));
  co_return Structures{
      .table = place, .table_clusters = static_cast<std::uint32_t>(placed), .order = order};
}

Task<Result<>> Refcounts::switch_width(Structures old) {
  order_ = header_.refcount_order;
  cursor_ = 0;
  const std::uint64_t entries = old.table_clusters * entries_per_cluster();
  std::vector<std::byte> table(entries * format::kEntryBytes);
  CO_TRY_OK(co_await file_.read(old.table.value, table));
  for (std::uint64_t i = 0; i < entries; ++i) {
    const HostOffset block{load_be<std::uint64_t>(table, i * format::kEntryBytes) &
                           format::kBlockOffsetMask};
    if (block.value == 0 || geometry_.within(block) != 0) continue;
    tables_.forget(block, 1);
    CO_TRY_OK(co_await release(geometry_.cluster_of(block), 1, false));
  }
  tables_.forget(old.table, old.table_clusters);
  co_return co_await release(geometry_.cluster_of(old.table), old.table_clusters, false);
}

}  // namespace sim::qcow2
