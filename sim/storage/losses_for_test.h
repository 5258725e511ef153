// What of a number of unflushed changes a power cut may lose, as far as tests try it.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace sim::storage::testing {

// Which of `count` changes are kept: all subsets if they are few; else everything, each single
// change kept or lost, and each moment.
inline std::set<std::vector<bool>> losses(std::size_t count) {
  constexpr std::size_t kAllSubsets = 5;
  std::set<std::vector<bool>> tries;
  if (count <= kAllSubsets) {
    for (std::uint64_t bits = 0; bits < std::uint64_t{1} << count; ++bits) {
      std::vector<bool> kept(count);
      for (std::size_t i = 0; i < count; ++i) kept[i] = (bits >> i & 1) != 0;
      tries.insert(kept);
    }
    return tries;
  }
  for (std::size_t i = 0; i < count; ++i) {
    std::vector<bool> kept(count, false), lost(count, true), until(count, true);
    kept[i] = true;
    lost[i] = false;
    std::fill(until.begin() + static_cast<std::ptrdiff_t>(i), until.end(), false);
    tries.insert({kept, lost, until});
  }
  tries.insert(std::vector<bool>(count, true));
  return tries;
}

// "+--+": kept, lost.
inline std::string spell(const std::vector<bool>& kept) {
  std::string text;
  for (const bool one : kept) text += one ? '+' : '-';
  return text;
}

}  // namespace sim::storage::testing
