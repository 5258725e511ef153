// Which parts of a buffer are stored, beside the rule written the plain way.

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "sim/image/copy.h"
#include "sim/world/rng.h"

namespace sim::image {
namespace {

constexpr std::uint64_t kSector = 512;

bool is_zero(const std::vector<bool>& zero, std::uint64_t sector) { return zero[sector]; }

// QEMU's rule, sector by sector: runs of zeroes and of data in turn, their borders at multiples of
// `unit` on the disk, the data's favour; zeroes that are too few are data.
Stretch plainly(const std::vector<bool>& zero, std::uint64_t at, std::uint64_t sparse,
                std::uint64_t unit) {
  const std::uint64_t size = zero.size() * kSector;
  sparse = std::min(sparse, size);
  const auto run = [&](std::uint64_t from) -> Stretch {
    std::uint64_t end = from;
    while (end < size && is_zero(zero, end / kSector) == is_zero(zero, from / kSector))
      end += kSector;
    const bool zeroes = is_zero(zero, from / kSector);
    if (end == size) return {end - from, !zeroes};
    const std::uint64_t over = (at + end) % unit;
    if (over == 0) return {end - from, !zeroes};
    if (zeroes && end - from > over) return {end - from - over, false};
    return {std::min(end + unit - over, size) - from, true};
  };
  const Stretch first = run(0);
  if (!first.stored) return first;
  std::uint64_t stored = first.length, seen = first.length;
  while (seen < size) {
    const Stretch next = run(seen);
    seen += next.length;
    if (next.stored) stored = seen;
    if (!next.stored && next.length >= sparse) break;
  }
  return {stored, true};
}

TEST(LeadingStretch, IsWhatTheRuleSays) {
  Rng rng(7);
  for (int round = 0; round < 20000; ++round) {
    const std::uint64_t sectors = 1 + rng.below(96);
    const std::uint64_t sparse = kSector << rng.below(6);
    const std::uint64_t unit = kSector << rng.below(5);
    const std::uint64_t at = kSector * rng.below(64);
    std::vector<bool> zero;
    while (zero.size() < sectors)
      zero.insert(zero.end(), 1 + rng.below(rng.below(2) == 0 ? 4 : 30), rng.below(2) == 0);
    zero.resize(sectors);
    std::vector<std::byte> data(sectors * kSector);
    // A sector of data may begin with zeroes.
    for (std::uint64_t i = 0; i < sectors; ++i)
      if (!zero[i]) data[i * kSector + rng.below(kSector)] = std::byte{1};

    const Stretch found = leading_stretch(data, at, sparse, unit);
    const Stretch wanted = plainly(zero, at, sparse, unit);
    ASSERT_EQ(found.length, wanted.length) << "round " << round;
    ASSERT_EQ(found.stored, wanted.stored) << "round " << round;
  }
}

}  // namespace
}  // namespace sim::image
