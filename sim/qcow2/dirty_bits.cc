#include "sim/qcow2/dirty_bits.h"

#include <algorithm>
#include <utility>

namespace sim::qcow2 {

DirtyBits::DirtyBits(DirtyBits&& other) noexcept
    : budget_(other.budget_),
      partial_(std::exchange(other.partial_, {})),
      full_(std::exchange(other.full_, {})) {}

DirtyBits& DirtyBits::operator=(DirtyBits&& other) noexcept {
  std::swap(budget_, other.budget_);
  std::swap(partial_, other.partial_);
  std::swap(full_, other.full_);
  return *this;
}

bool DirtyBits::take(std::uint64_t bytes) {
  if (budget_->bytes < bytes) return false;
  budget_->bytes -= bytes;
  return true;
}

void DirtyBits::clear() {
  give(partial_.size() * (kPageBytes + kNodeBytes) + full_.size() * kNodeBytes);
  partial_.clear();
  full_.clear();
}

bool DirtyBits::is_full(std::uint64_t page) const {
  const auto after = full_.upper_bound(page);
  return after != full_.begin() && page < std::prev(after)->second;
}

void DirtyBits::set(std::uint64_t first, std::uint64_t end) {
  if (first >= end) return;
  const std::uint64_t first_page = first / kPageBits;
  const std::uint64_t last_page = (end - 1) / kPageBits;
  if (first_page == last_page) {
    set_within(first_page, first % kPageBits, (end - 1) % kPageBits + 1);
    return;
  }
  set_within(first_page, first % kPageBits, kPageBits);
  set_pages(first_page + 1, last_page);
  set_within(last_page, 0, (end - 1) % kPageBits + 1);
}

// Sets bits of one page.
void DirtyBits::set_within(std::uint64_t page, std::uint64_t first, std::uint64_t end) {
  if (first >= end) return;
  if (is_full(page)) return;
  auto found = partial_.find(page);
  if (first == 0 && end == kPageBits) return set_pages(page, page + 1);
  if (found == partial_.end()) {
    if (!take(kPageBytes + kNodeBytes)) return set_pages(page, page + 1);
    found = partial_.emplace(page, std::make_unique<Page>()).first;
  }
  Page& bytes = *found->second;
  for (; first < end && first % 8 != 0; ++first)
    bytes[first / 8] |= static_cast<std::byte>(1U << (first % 8));
  for (; first < end && end % 8 != 0; --end)
    bytes[(end - 1) / 8] |= static_cast<std::byte>(1U << ((end - 1) % 8));
  std::ranges::fill(MutableBytes(bytes).subspan(first / 8, (end - first) / 8), std::byte{0xff});
}

// Sets whole pages [first, end).
void DirtyBits::set_pages(std::uint64_t first, std::uint64_t end) {
  if (first >= end) return;
  for (auto page = partial_.lower_bound(first); page != partial_.end() && page->first < end;) {
    page = partial_.erase(page);
    give(kPageBytes + kNodeBytes);
  }
  auto run = full_.lower_bound(first);
  if (run != full_.begin() && std::prev(run)->second >= first) --run;
  while (run != full_.end() && run->first <= end) {  // they touch: one run
    first = std::min(first, run->first);
    end = std::max(end, run->second);
    run = full_.erase(run);
    give(kNodeBytes);
  }
  if (!take(kNodeBytes)) {
    clear();
    first = 0;
    end = UINT64_MAX / kPageBits;
    if (!take(kNodeBytes)) budget_->bytes = 0;
  }
  full_.emplace(first, end);
}

void DirtyBits::truncate(std::uint64_t end) {
  const std::uint64_t last = end / kPageBits;  // the page that is cut
  const bool cut_full = is_full(last);
  for (auto page = partial_.upper_bound(last); page != partial_.end();) {
    page = partial_.erase(page);
    give(kPageBytes + kNodeBytes);
  }
  for (auto run = full_.lower_bound(last); run != full_.end();) {
    run = full_.erase(run);
    give(kNodeBytes);
  }
  if (!full_.empty()) full_.rbegin()->second = std::min(full_.rbegin()->second, last);
  if (cut_full) return set_within(last, 0, end % kPageBits);
  const auto page = partial_.find(last);
  if (page == partial_.end()) return;
  const MutableBytes bytes(*page->second);
  const std::uint64_t within = end % kPageBits;
  if (within % 8 != 0) bytes[within / 8] &= static_cast<std::byte>((1U << (within % 8)) - 1);
  std::ranges::fill(bytes.subspan(div_up(within, 8)), std::byte{0});
}

bool DirtyBits::any(std::uint64_t first, std::uint64_t end) const {
  if (first >= end) return false;
  const std::uint64_t last_page = (end - 1) / kPageBits;
  const auto page = partial_.lower_bound(first / kPageBits);
  if (page != partial_.end() && page->first <= last_page) return true;
  const auto after = full_.upper_bound(last_page);
  return after != full_.begin() && first / kPageBits < std::prev(after)->second;
}

void DirtyBits::add_to(MutableBytes bytes, std::uint64_t first) const {
  const std::uint64_t end = first + bytes.size() * 8;
  const auto pages_of = [&](std::uint64_t page, std::uint64_t pages) {  // the part within `bytes`
    const std::uint64_t from = std::max(first, page * kPageBits);
    return std::pair(from, std::min(end, (page + pages) * kPageBits));
  };
  auto page = partial_.lower_bound(first / kPageBits);
  for (; page != partial_.end() && page->first * kPageBits < end; ++page) {
    const auto [from, to] = pages_of(page->first, 1);
    for (std::uint64_t bit = from; bit < to; bit += 8)
      bytes[(bit - first) / 8] |= (*page->second)[bit % kPageBits / 8];
  }
  auto run = full_.upper_bound(first / kPageBits);
  if (run != full_.begin()) --run;
  for (; run != full_.end() && run->first * kPageBits < end; ++run) {
    const auto [from, to] = pages_of(run->first, run->second - run->first);
    if (from < to)
      std::ranges::fill(bytes.subspan((from - first) / 8, (to - from) / 8), std::byte{0xff});
  }
}

}  // namespace sim::qcow2
