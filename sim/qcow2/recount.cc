// The second stage of a check: what is stored is compared with what was counted, and put right.

#include <algorithm>

#include "sim/qcow2/checker.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/stored_count.h"

namespace sim::qcow2 {

Task<Result<>> Checker::read_refcount_table() {
  const std::uint64_t bytes = header_.refcount_table_clusters * geometry_.cluster_bytes();
  std::vector<std::byte> table(bytes);
  if (auto got = co_await file_.read(header_.refcount_table_offset.value, table); !got)
    co_return os_error(got.error().number, "Could not initialize refcount handling");
  refcount_table_.resize(bytes / format::kEntryBytes);
  for (std::uint64_t i = 0; i < refcount_table_.size(); ++i)
    refcount_table_[i] = load_be<std::uint64_t>(table, i * format::kEntryBytes);
  unreadable_.assign(refcount_table_.size(), false);
  any_unreadable_ = false;
  block_index_ = UINT64_MAX;
  co_return ok();
}

// Reads the block at `index` into block_, zeroes if there is none; false if it cannot be read.
Task<Result<bool>> Checker::read_block(std::uint64_t index) {
  block_.resize(geometry_.cluster_bytes());
  if (index == block_index_) co_return true;
  block_index_ = UINT64_MAX;
  const std::uint64_t offset =
      index < refcount_table_.size() ? refcount_table_[index] & format::kBlockOffsetMask : 0;
  if (geometry_.within(HostOffset{offset}) != 0) {
    if (!told_unaligned_)
      say("qcow2: {}: Refblock offset {:#x} unaligned (reftable index: {}); further "
          "{}corruption "
          "events will be suppressed",
          repairs_leaks() ? "Marking image as corrupt" : "Image is corrupt", offset,
          index == 0 ? "0" : fmt::format("{:#x}", index), repairs_leaks() ? "" : "non-fatal ");
    told_unaligned_ = true;
    co_return false;
  }
  if (offset >= static_cast<std::uint64_t>(INT64_MAX) - geometry_.cluster_bytes()) co_return false;
  spend(block_.size());
  if (offset == 0 || offset >= file_bytes_) {
    std::ranges::fill(block_, std::byte{0});
  } else if (const auto got = co_await file_.read(offset, block_); !got) {
    co_return false;
  }
  block_index_ = index;
  co_return true;
}

// What is stored for any cluster; nothing if that cannot be read.
Task<Result<std::optional<std::uint64_t>>> Checker::stored_count(std::uint64_t cluster) {
  CO_TRY(const bool readable, co_await read_block(cluster / per_block()));
  if (!readable) co_return std::optional<std::uint64_t>{};
  co_return std::optional(load_count(block_, cluster % per_block(), order_));
}

Task<Result<>> Checker::compare(Repair fix, bool adopt) {
  end_ = 1;
  for (std::uint64_t i = 0; i * per_block() < counts_.size(); ++i) {
    const std::uint64_t first = i * per_block();
    const bool stored = i < refcount_table_.size() && refcount_table_[i] != 0;
    if (!stored && counts_.next_used(first) >= first + per_block()) {
      if (i >= refcount_table_.size()) {  // nothing is stored from here on: to the next reference
        const std::uint64_t next = counts_.next_used(first) / per_block();
        i = std::max(i, next == 0 ? 0 : next - 1);
      }
      continue;
    }
    CO_TRY_OK(co_await compare_block(i, fix, adopt));
    CO_TRY_OK(within_bounds());
  }
  co_return ok();
}

// Counts that block `index` holds, or does not hold.
Task<Result<>> Checker::compare_block(std::uint64_t index, Repair fix, bool adopt) {
  const std::uint64_t first = index * per_block();
  const std::uint64_t end = std::min(first + per_block(), counts_.size());
  CO_TRY(const bool readable, co_await read_block(index));
  if (!readable) {
    unreadable_[index] = any_unreadable_ = true;
    for (std::uint64_t i = first; i < end; ++i) {
      say("Can't get refcount for cluster {}: Input/output error", i);
      ++result_.check_errors;
      CO_TRY_OK(within_bounds());
    }
    co_return ok();
  }
  std::uint64_t changed_from = UINT64_MAX, changed_to = 0;
  for (std::uint64_t i = first; i < end; ++i) {
    if (i % ClusterCounts::kPage == 0 && counts_.next_used(i) >= i + ClusterCounts::kPage &&
        all_zero(stored_part(i - first, ClusterCounts::kPage))) {
      i += ClusterCounts::kPage - 1;
      continue;
    }
    if (i % ClusterCounts::kPage == 0 && i + ClusterCounts::kPage <= end && same_page(i, first)) {
      i += ClusterCounts::kPage - 1;
      if (counts_.get(i) != 0) end_ = i + 1;
      continue;
    }
    const std::uint64_t stored = load_count(block_, i - first, order_);
    const std::uint64_t counted = counts_.get(i);
    if (stored != 0 || counted != 0) end_ = i + 1;
    if (stored == counted) continue;
    const bool fixed = mismatch(i, stored, counted, fix);
    if (fixed) {
      store_count(block_, i - first, order_, counted);
      if (counted == 0) freed_.push_back(i);
      changed_from = std::min(changed_from, i - first);
      changed_to = i - first + 1;
    } else if (adopt) {
      counts_.set(i, stored);
    }
    CO_TRY_OK(within_bounds());
  }
  if (changed_to == 0) co_return ok();
  const std::uint64_t from = (changed_from << order_) / 8;
  const std::uint64_t to = div_up(changed_to << order_, 8);
  const std::uint64_t at = refcount_table_[index] & format::kBlockOffsetMask;
  co_return co_await file_.write(at + from, Bytes(block_).subspan(from, to - from));
}

// True for a whole page of 16-bit counts that are as they were counted, the last of them in use.
bool Checker::same_page(std::uint64_t cluster, std::uint64_t block_first) const {
  const std::uint8_t* const counted = counts_.small_page(cluster);
  if (order_ != 4 || counted == nullptr || counted[ClusterCounts::kPage - 1] == 0) return false;
  const std::byte* const stored = block_.data() + (cluster - block_first) * 2;
  unsigned different = 0;
  for (std::uint64_t i = 0; i < ClusterCounts::kPage; ++i)
    different |= std::to_integer<unsigned>(stored[2 * i]) |
                 (std::to_integer<unsigned>(stored[2 * i + 1]) ^ counted[i]);
  return different == 0;
}

// The bytes of block_ that hold `counts` counts from `first` on, as far as there are so many.
Bytes Checker::stored_part(std::uint64_t first, std::uint64_t counts) const {
  const std::uint64_t from = (first << order_) / 8;
  return Bytes(block_).subspan(
      from, std::min<std::uint64_t>(block_.size() - from, div_up(counts << order_, 8)));
}

// Says and counts a difference; true if it is to be put right.
bool Checker::mismatch(std::uint64_t cluster, std::uint64_t stored, std::uint64_t counted,
                       Repair fix) {
  const bool leak = stored > counted;
  if (stored == 0) must_rebuild_ = true;
  const bool fixed = stored != 0 && (leak ? fix != Repair::none : fix == Repair::all);
  say("{} cluster {} refcount={} reference={}",
      fixed  ? "Repairing"
      : leak ? "Leaked"
             : "ERROR",
      cluster, stored, counted);
  if (fixed) {
    ++(leak ? result_.leaks_fixed : result_.corruptions_fixed);
  } else {
    ++(leak ? result_.leaks : result_.corruptions);
  }
  return fixed;
}

// Gives back the space of clusters that are free now, once the counts that say so are in the file.
Task<Result<>> Checker::discard_freed() {
  if (freed_.empty()) co_return ok();
  CO_TRY_OK(co_await file_.flush());
  for (std::size_t i = 0; i < freed_.size();) {
    std::size_t run = 1;
    while (i + run < freed_.size() && freed_[i + run] == freed_[i] + run) ++run;
    // A favour: a file that refuses has lost nothing.
    (void)co_await file_.discard(freed_[i] << geometry_.cluster_bits,
                                 run << geometry_.cluster_bits);
    i += run;
  }
  freed_.clear();
  l2_at_ = block_index_ = UINT64_MAX;
  co_return ok();
}

}  // namespace sim::qcow2
