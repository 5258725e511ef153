// The third stage of a check: an entry of the active tree has COPIED exactly if its cluster's count
// is 1.

#include <algorithm>

#include "sim/qcow2/checker.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/l2_entry.h"

namespace sim::qcow2 {

// The stored count of the cluster at `offset`; nothing if that cannot be read.
Task<Result<std::optional<std::uint64_t>>> Checker::count_at(std::uint64_t offset) {
  const std::uint64_t cluster = offset >> geometry_.cluster_bits;
  if (cluster >= counts_.size()) co_return co_await stored_count(cluster);
  co_return known_count(cluster);
}

// Of a cluster within the file, after compare() has adopted what is stored.
std::optional<std::uint64_t> Checker::known_count(std::uint64_t cluster) const {
  const std::uint64_t block = cluster / per_block();
  if (block < unreadable_.size() && unreadable_[block]) return std::nullopt;
  return counts_.get(cluster);
}

// The usual entry of a file: COPIED, and counted once.
bool Checker::right_copied(std::uint64_t word) const {
  const std::uint64_t cluster = (word & format::kOffsetMask) >> geometry_.cluster_bits;
  return (word & (format::kCopied | format::kCompressed)) == format::kCopied && cluster != 0 &&
         cluster < counts_.size() && counts_.get(cluster) == 1 && !any_unreadable_;
}

Task<Result<>> Checker::check_copied() {
  const CheckResult& result = result_;
  const bool nothing_found = result.corruptions == 0 && result.leaks == 0 &&
                             result.check_errors == 0 && result.corruptions_fixed == 0 &&
                             result.leaks_fixed == 0;
  // All counts of what entries refer to are 1, and all of those have COPIED.
  if (nothing_found && !shared_ && !uncopied_) co_return ok();
  const bool repair = repairs_all() || (repairs_leaks() && result_.check_errors == 0 &&
                                        result_.corruptions == 0 && result_.leaks == 0);
  for (std::uint64_t i = 0; i < header_.l1_size; ++i) {
    if (i % kL1Part == 0) CO_TRY_OK(co_await read_l1_part(i));
    const MutableBytes place = MutableBytes(l1_).subspan(i % kL1Part * format::kEntryBytes);
    const auto entry = load_be<std::uint64_t>(place, 0);
    const std::uint64_t table = entry & format::kOffsetMask;
    if (table == 0) continue;
    CO_TRY(const auto count, co_await count_at(table));
    if (!count) continue;
    if ((*count == 1) != ((entry & format::kCopied) != 0)) {
      say("{} OFLAG_COPIED L2 cluster: l1_index={} l1_entry={:x} refcount={}",
          repair ? "Repairing" : "ERROR", i, entry, *count);
      ++(repair ? result_.corruptions_fixed : result_.corruptions);
      store_be(place, 0, entry ^ format::kCopied);
      if (repair)
        CO_TRY_OK(co_await file_.write(header_.l1_table_offset.value + i * format::kEntryBytes,
                                       place.first(format::kEntryBytes)));
    }
    CO_TRY_OK(co_await check_copied_l2(table, repair));
    CO_TRY_OK(within_bounds());
  }
  co_return ok();
}

Task<Result<>> Checker::read_l1_part(std::uint64_t first) {
  l1_.resize(std::min(kL1Part, header_.l1_size - first) * format::kEntryBytes);
  co_return co_await file_.read(header_.l1_table_offset.value + first * format::kEntryBytes, l1_);
}

Task<Result<>> Checker::check_copied_l2(std::uint64_t at, bool repair) {
  auto stored = co_await read_l2(at);
  if (!stored) {
    say("ERROR: I/O error in check_oflag_copied: {}", stored.error().desc);
    ++result_.check_errors;
    co_return std::move(stored).error();
  }
  if (!*stored) co_return ok();
  spend(l2_.size());
  const L2Format format{.geometry = geometry_, .data_file = header_.has_data_file()};
  std::uint64_t changed_from = UINT64_MAX, changed_to = 0;
  for (std::uint64_t i = 0; i < l2_.size(); i += geometry_.l2_entry_bytes()) {
    const L2Entry entry{.word = load_be<std::uint64_t>(l2_, i)};
    if (entry.word == 0 || right_copied(entry.word) || !format.placed(entry)) continue;
    std::optional<std::uint64_t> count = 1;
    const std::uint64_t cluster = entry.host().value >> geometry_.cluster_bits;
    if (!header_.has_data_file()) {
      if (cluster < counts_.size()) {
        count = known_count(cluster);
      } else {
        CO_TRY(count, co_await stored_count(cluster));
      }
    }
    if (!count || (*count == 1) == entry.copied()) continue;
    say("{} OFLAG_COPIED data cluster: l2_entry={:x} refcount={}", repair ? "Repairing" : "ERROR",
        entry.word, *count);
    ++(repair ? result_.corruptions_fixed : result_.corruptions);
    if (!repair) continue;
    store_be(MutableBytes(l2_), i, entry.word ^ format::kCopied);
    changed_from = std::min(changed_from, i);
    changed_to = i + format::kEntryBytes;
  }
  if (changed_to != 0)
    CO_TRY_OK(co_await file_.write(at + changed_from,
                                   Bytes(l2_).subspan(changed_from, changed_to - changed_from)));
  co_return ok();
}

}  // namespace sim::qcow2
