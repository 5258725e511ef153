#include "sim/qcow2/dirty_bits.h"

#include <gtest/gtest.h>

#include <vector>

#include "sim/world/rng.h"

namespace sim::qcow2 {
namespace {

constexpr std::uint64_t kBits = 20 * DirtyBits::kPageBits;

std::vector<bool> all_of(const DirtyBits& bits) {
  std::vector<std::byte> bytes(kBits / 8);
  bits.add_to(bytes, 0);
  std::vector<bool> set(kBits);
  for (std::uint64_t i = 0; i < kBits; ++i)
    set[i] = ((bytes[i / 8] >> (i % 8)) & std::byte{1}) != std::byte{0};
  return set;
}

TEST(DirtyBitsTest, AgreesWithAPlainArray) {
  Rng rng(7);
  for (int round = 0; round < 30; ++round) {
    DirtyBitsBudget budget;
    DirtyBits bits(budget);
    std::vector<bool> plain(kBits);
    for (int i = 0; i < 20; ++i) {
      const std::uint64_t first = rng.below(kBits);
      const std::uint64_t most = rng.chance({1, 2}) ? 100 : kBits / 4;
      const std::uint64_t end = std::min(kBits, first + rng.below(most));
      if (rng.chance({1, 8})) {
        bits.truncate(first);
        std::fill(plain.begin() + static_cast<std::ptrdiff_t>(first), plain.end(), false);
      } else {
        bits.set(first, end);
        std::fill(plain.begin() + static_cast<std::ptrdiff_t>(first),
                  plain.begin() + static_cast<std::ptrdiff_t>(std::max(first, end)), true);
      }
    }
    EXPECT_EQ(all_of(bits), plain);
    for (std::uint64_t first = 0; first + 50 <= kBits; first += kBits / 50) {
      const auto from = plain.begin() + static_cast<std::ptrdiff_t>(first);
      if (std::find(from, from + 50, true) != from + 50) EXPECT_TRUE(bits.any(first, first + 50));
    }
    bits.clear();
    EXPECT_FALSE(bits.any(0, kBits));
    EXPECT_EQ(budget.bytes, DirtyBitsBudget{}.bytes);
  }
}

TEST(DirtyBitsTest, HugeRangesTakeLittle) {
  DirtyBitsBudget budget;
  DirtyBits bits(budget);
  bits.set(3, (std::uint64_t{1} << 41) + 5);
  EXPECT_GE(budget.bytes, DirtyBitsBudget{}.bytes - 3 * DirtyBits::kPageBytes);
  EXPECT_TRUE(bits.any(std::uint64_t{1} << 40, (std::uint64_t{1} << 40) + 1));
}

TEST(DirtyBitsTest, BeyondTheBudgetTooMuchIsDirtyAndNeverTooLittle) {
  DirtyBitsBudget budget{.bytes = 3 * (DirtyBits::kPageBytes + 64) + 200};
  DirtyBits bits(budget);
  for (std::uint64_t i = 0; i < 20; ++i) {
    bits.set(i * DirtyBits::kPageBits + 5, i * DirtyBits::kPageBits + 6);
    const std::vector<bool> set = all_of(bits);
    for (std::uint64_t k = 0; k <= i; ++k) EXPECT_TRUE(set[k * DirtyBits::kPageBits + 5]);
  }
}

}  // namespace
}  // namespace sim::qcow2
