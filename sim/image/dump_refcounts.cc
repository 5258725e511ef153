// The refcount table and its blocks.

#include <fmt/format.h>

#include <algorithm>

#include "sim/image/dumper.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/stored_count.h"

namespace sim::image {

namespace format = qcow2::format;

Task<void> Dumper::refcounts() {
  const bool shown = wants(DumpSection::refcounts);
  const std::uint64_t table_bytes =
      std::min(stored_.refcount_clusters * cluster_bytes(), format::kRefcountTableBytesMax);
  if (shown) {
    sink_.section(DumpSection::refcounts);
    begin({.kind = "refcount-table",
           .offset = stored_.refcount_table,
           .bytes = table_bytes,
           .name = "refcount table",
           .meaning = fmt::format("{} entries", table_bytes / format::kEntryBytes)});
  }
  if (traces())
    use(ClusterUse::Kind::refcount_table, stored_.refcount_table, table_bytes, "refcount table");
  std::vector<std::byte> raw(table_bytes);
  if (!co_await read(stored_.refcount_table, raw, "refcount table")) co_return;
  refcount_table_.resize(table_bytes / format::kEntryBytes);
  for (std::size_t i = 0; i < refcount_table_.size(); ++i)
    refcount_table_[i] = load_be<std::uint64_t>(raw, i * format::kEntryBytes);
  for (std::uint64_t i = 0; i < refcount_table_.size() && !exhausted_;) {
    const std::uint64_t entry = refcount_table_[i];
    std::uint64_t count = 1;
    while (entry == 0 && i + count < refcount_table_.size() && refcount_table_[i + count] == 0)
      ++count;
    const std::uint64_t block = entry & format::kBlockOffsetMask;
    DumpRecord record{.kind = "refcount-table-entry",
                      .offset = stored_.refcount_table + i * format::kEntryBytes,
                      .bytes = count * format::kEntryBytes,
                      .name = index_range(i, count),
                      .value = fmt::format("{:016x}", entry),
                      .meaning = entry == 0 ? "no block" : fmt::format("block at {:#x}", block),
                      .fields = {{"index", i}, {"count", count}, {"block", block}}};
    if (entry != 0) describe_place(record.problems, block, cluster_bytes());
    if ((entry & ~format::kBlockOffsetMask) != 0)
      record.problems.emplace_back("reserved bits are set");
    if (shown) show(std::move(record));
    if (entry != 0 && traces())
      use(ClusterUse::Kind::refcount_block, block, cluster_bytes(),
          fmt::format("refcount block {}", i));
    i += count;
  }
  for (std::uint64_t i = 0; shown && i < refcount_table_.size() && !exhausted_; ++i)
    if (refcount_table_[i] != 0)
      co_await refcount_block(i, refcount_table_[i] & format::kBlockOffsetMask);
}

Task<void> Dumper::refcount_block(std::uint64_t index, std::uint64_t block) {
  const auto order = static_cast<std::uint32_t>(stored_.refcount_order);
  const std::uint64_t per_block = (cluster_bytes() * 8) >> order;
  const std::uint64_t first = index * per_block;
  begin({.kind = "refcount-block",
         .offset = block,
         .bytes = cluster_bytes(),
         .name = fmt::format("refcount block {}", index),
         .meaning = fmt::format("counts clusters {} to {}", first, first + per_block - 1),
         .fields = {{"index", index}, {"first-cluster", first}}});
  std::vector<std::byte> bytes(cluster_bytes());
  if (!co_await read(block, bytes, "refcount block")) co_return;
  for (std::uint64_t i = 0; i < per_block;) {
    const std::uint64_t value = qcow2::load_count(bytes, i, order);
    std::uint64_t count = 1;
    while (i + count < per_block && qcow2::load_count(bytes, i + count, order) == value) ++count;
    const std::uint64_t bit = i << order;
    show({.kind = "refcounts",
          .offset = block + bit / 8,
          .bytes = std::max<std::uint64_t>((count << order) / 8, 1),
          .name = index_range(first + i, count),
          .value = fmt::format("{}", value),
          .meaning = value == 0 ? "free"
                                : fmt::format("{} cluster{} in use", count, count == 1 ? "" : "s"),
          .fields = {{"first-cluster", first + i}, {"count", count}, {"refcount", value}}});
    i += count;
  }
}

// What the file says; nothing if it cannot be read.
Task<std::optional<std::uint64_t>> Dumper::count_of(std::uint64_t cluster) {
  const auto order = static_cast<std::uint32_t>(stored_.refcount_order);
  const std::uint64_t per_block = (cluster_bytes() * 8) >> order;
  const std::uint64_t index = cluster / per_block;
  if (index >= refcount_table_.size()) co_return 0;
  const std::uint64_t block = refcount_table_[index] & format::kBlockOffsetMask;
  if (block == 0) co_return 0;
  if (block != block_at_) {
    block_.resize(cluster_bytes());
    block_at_ = 0;
    work_ += block_.size();
    exhausted_ = exhausted_ || work_ > kWorkMax;
    const auto got = co_await file_.read(block, block_);
    if (!got) co_return std::nullopt;
    block_at_ = block;
  }
  co_return qcow2::load_count(block_, cluster % per_block, order);
}

}  // namespace sim::image
