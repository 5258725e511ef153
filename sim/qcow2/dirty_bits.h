// The bits that a session sets in one bitmap, sparse, in bounded memory.

#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>

#include "sim/base/bytes.h"

namespace sim::qcow2 {

// What all bitmaps of an image may take together.  When it is used up, bits are set coarsely: a
// bitmap that calls too much dirty costs a copy, one that calls too little loses data.
struct DirtyBitsBudget {
  std::uint64_t bytes = std::uint64_t{64} << 20;
};

class DirtyBits {
 public:
  static constexpr std::uint64_t kPageBytes = 4096;
  static constexpr std::uint64_t kPageBits = kPageBytes * 8;

  // `budget` is referred to.
  explicit DirtyBits(DirtyBitsBudget& budget) : budget_(&budget) {}
  ~DirtyBits() { clear(); }
  DirtyBits(DirtyBits&& other) noexcept;
  DirtyBits& operator=(DirtyBits&& other) noexcept;

  // Sets [first, end).
  void set(std::uint64_t first, std::uint64_t end);
  void clear();
  // Clears what is at or beyond `end`.
  void truncate(std::uint64_t end);
  // False only if no bit of [first, end) is set.
  bool any(std::uint64_t first, std::uint64_t end) const;
  // Adds the bits from `first` on, which is a multiple of 8, to `bytes`: bit n%8 of byte n/8.
  void add_to(MutableBytes bytes, std::uint64_t first) const;

 private:
  using Page = std::array<std::byte, kPageBytes>;
  // Nodes of the maps, roughly.
  static constexpr std::uint64_t kNodeBytes = 64;

  bool take(std::uint64_t bytes);
  void give(std::uint64_t bytes) { budget_->bytes += bytes; }
  void set_pages(std::uint64_t first, std::uint64_t end);
  void set_within(std::uint64_t page, std::uint64_t first, std::uint64_t end);
  bool is_full(std::uint64_t page) const;

  DirtyBitsBudget* budget_;
  std::map<std::uint64_t, std::unique_ptr<Page>> partial_;  // by number of the page
  std::map<std::uint64_t, std::uint64_t> full_;             // runs of pages [first, end), apart
};

}  // namespace sim::qcow2
