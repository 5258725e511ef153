// New refcount structures from what was counted, where the old ones cannot be mended.
//
// Places are QEMU 7.2's (measured): blocks first, each at the lowest free cluster of what it counts
// or behind, then the table at the lowest free run.  Nothing is written over what is in use: the
// old structures are counted, too, until the header no longer names them.

#include <algorithm>
#include <array>

#include "sim/qcow2/checker.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/stored_count.h"

namespace sim::qcow2 {

// Takes the first `clusters` adjacent free ones from `from` on, which moves to the first free one.
std::uint64_t Checker::take(std::uint64_t clusters, std::uint64_t& from) {
  std::uint64_t start = from;
  bool first_gap = true;
  for (std::uint64_t run = 0; run < clusters;) {
    const std::uint64_t at = start + run;
    if (at >= counts_.size() || counts_.get(at) == 0) {
      if (first_gap) from = at;
      first_gap = false;
      ++run;
    } else {
      start = at + 1;
      run = 0;
    }
  }
  counts_.grow(start + clusters);
  for (std::uint64_t i = 0; i < clusters; ++i) counts_.set(start + i, 1);
  return start;
}

// Gives every stretch of [first, end) that has counts a block in `table`.
Result<> Checker::plan_blocks(std::uint64_t first, std::uint64_t end,
                              std::vector<std::uint64_t>& table) {
  const std::uint64_t per_cluster = geometry_.cluster_bytes() / format::kEntryBytes;
  std::uint64_t free = 0;
  for (std::uint64_t i = counts_.next_used(first); i < end; i = counts_.next_used(i)) {
    const std::uint64_t index = i / per_block();
    free = std::max(free, index * per_block());
    if (index >= table.size() || table[index] == 0) {
      const std::uint64_t block = take(1, free);
      end = std::max(end, block + 1);
      if (index >= table.size()) table.resize(div_up(index + 1, per_cluster) * per_cluster);
      if (table.size() * format::kEntryBytes > format::kRefcountTableBytesMax)
        return os_error(EFBIG);
      table[index] = block << geometry_.cluster_bits;
    }
    i = (index + 1) * per_block();
    if (i >= counts_.size()) break;
    spend(geometry_.cluster_bytes());
    TRY_OK(within_bounds());
  }
  return ok();
}

Task<Result<>> Checker::rebuild() {
  const std::uint64_t per_cluster = geometry_.cluster_bytes() / format::kEntryBytes;
  std::vector<std::uint64_t> table;
  CO_TRY_OK(plan_blocks(0, counts_.size(), table));
  std::uint64_t at = 0, entries = 0;
  do {
    entries = table.size();
    std::uint64_t free = 0;
    at = take(entries / per_cluster, free);
    CO_TRY_OK(plan_blocks(at, at + entries / per_cluster, table));
  } while (entries != table.size());
  const std::uint64_t end = geometry_.clusters_for(file_bytes_);
  if (counts_.size() > 2 * end)
    co_return os_error(EFBIG, "Rebuilding would make the file more than twice as long");

  for (std::uint64_t i = 0; i < entries; ++i) {
    if (table[i] == 0) continue;
    block_index_ = UINT64_MAX;
    std::ranges::fill(block_, std::byte{0});
    const std::uint64_t last = std::min((i + 1) * per_block(), counts_.size());
    for (std::uint64_t c = counts_.next_used(i * per_block()); c < last;
         c = counts_.next_used(c + 1))
      store_count(block_, c - i * per_block(), order_, counts_.get(c));
    CO_TRY_OK(co_await file_.write(table[i], block_));
  }
  std::vector<std::byte> bytes(entries * format::kEntryBytes);
  for (std::uint64_t i = 0; i < entries; ++i)
    store_be(MutableBytes(bytes), i * format::kEntryBytes, table[i]);
  CO_TRY_OK(co_await file_.write(at << geometry_.cluster_bits, bytes));
  CO_TRY_OK(co_await file_.flush());

  header_.refcount_table_offset = {at << geometry_.cluster_bits};
  header_.refcount_table_clusters = static_cast<std::uint32_t>(entries / per_cluster);
  std::array<std::byte, 12> fields{};
  store_be(MutableBytes(fields), 0, header_.refcount_table_offset.value);
  store_be(MutableBytes(fields), 8, header_.refcount_table_clusters);
  static_assert(format::at::refcount_table_clusters == format::at::refcount_table_offset + 8);
  CO_TRY_OK(co_await file_.write(format::at::refcount_table_offset, fields));
  CO_TRY_OK(co_await file_.flush());
  file_bytes_ = file_.size();
  l2_at_ = UINT64_MAX;
  co_return ok();
}

// Rebuilds, counts again, and frees the old structures, which are leaks now.
Task<Result<>> Checker::rebuild_and_recount() {
  const CheckResult before = result_;
  say("Rebuilding refcount structure");
  if (auto done = co_await rebuild(); !done) {
    say("ERROR writing refblock: {}", done.error().desc);
    co_return std::move(done).error();
  }
  CO_TRY_OK(co_await read_refcount_table());
  must_rebuild_ = false;
  counts_.clear();
  counts_.grow(geometry_.clusters_for(file_bytes_));
  result_ = {.check_errors = before.check_errors,
             .corruptions_fixed = before.corruptions_fixed,
             .leaks_fixed = before.leaks_fixed,
             .total_clusters = before.total_clusters};
  repair_ = Repair::none;
  CO_TRY_OK(co_await count_references());
  const CheckResult counted = result_;
  CO_TRY_OK(co_await compare(Repair::leaks, true));
  CO_TRY_OK(co_await discard_freed());
  if (must_rebuild_) say("ERROR rebuilt refcount structure is still broken");
  result_ = counted;
  repair_ = options_.repair;
  if (result_.corruptions < before.corruptions)
    result_.corruptions_fixed += before.corruptions - result_.corruptions;
  if (result_.leaks < before.leaks) result_.leaks_fixed += before.leaks - result_.leaks;
  co_return ok();
}

}  // namespace sim::qcow2
