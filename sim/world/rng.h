// Chance, from a seed.  Own generator: std::*_distribution differs between standard libraries, and
// a seed must mean the same run everywhere.

#pragma once

#include <cstdint>

#include "sim/base/check.h"

namespace sim {

// A chance below one, exactly: no floating point in sim/.
struct Ratio {
  std::uint32_t numerator = 0;
  std::uint32_t denominator = 1;
};

// splitmix64 (Steele, Lea, Flood 2014).  Golden values are in world_test.cc.
class Rng {
 public:
  explicit Rng(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }

  // Uniform below `bound` (> 0); rejects, so that every value is as likely.
  std::uint64_t below(std::uint64_t bound) {
    CHECK(bound > 0);
    const std::uint64_t limit = bound * (UINT64_MAX / bound);
    for (;;)
      if (const std::uint64_t value = next(); value < limit) return value % bound;
  }

  bool chance(Ratio ratio) { return below(ratio.denominator) < ratio.numerator; }

  // A stream of its own for a component: adding a draw here moves nothing there.
  Rng fork() { return Rng(next()); }

 private:
  std::uint64_t state_;
};

}  // namespace sim
