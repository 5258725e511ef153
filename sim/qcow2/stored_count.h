// One count of a refcount block (spec, "Host cluster reference counting"): counts of 8 bits and
// more are big-endian, smaller ones are packed from the low end of each byte.

#pragma once

#include <cstdint>

#include "sim/base/bytes.h"

namespace sim::qcow2 {

constexpr std::uint64_t count_limit(std::uint32_t order) {
  return UINT64_MAX >> (64 - (std::uint64_t{1} << order));
}

// The count at `index` of `block`, in a width of 1 << order bits.
inline std::uint64_t load_count(Bytes block, std::uint64_t index, std::uint32_t order) {
  switch (order) {
    case 3:
      return std::to_integer<std::uint64_t>(block[index]);
    case 4:
      return load_be<std::uint16_t>(block, index * 2);
    case 5:
      return load_be<std::uint32_t>(block, index * 4);
    case 6:
      return load_be<std::uint64_t>(block, index * 8);
    default: {
      const std::uint64_t bit = index << order;
      return std::to_integer<std::uint64_t>(block[bit / 8] >> (bit % 8)) & count_limit(order);
    }
  }
}

inline void store_count(MutableBytes block, std::uint64_t index, std::uint32_t order,
                        std::uint64_t count) {
  switch (order) {
    case 3:
      block[index] = static_cast<std::byte>(count);
      break;
    case 4:
      store_be(block, index * 2, static_cast<std::uint16_t>(count));
      break;
    case 5:
      store_be(block, index * 4, static_cast<std::uint32_t>(count));
      break;
    case 6:
      store_be(block, index * 8, count);
      break;
    default: {
      const std::uint64_t bit = index << order;
      const auto mask = static_cast<std::byte>(count_limit(order) << (bit % 8));
      block[bit / 8] =
          (block[bit / 8] & ~mask) | (static_cast<std::byte>(count << (bit % 8)) & mask);
    }
  }
}

}  // namespace sim::qcow2
