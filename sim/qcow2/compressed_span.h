// Where an entry's compressed data is (spec, "Compressed Clusters Descriptor").

#pragma once

#include <cstdint>

#include "sim/qcow2/format.h"
#include "sim/qcow2/units.h"

namespace sim::qcow2 {

// From `offset` to the end of the last sector that the entry names; the data may end earlier.
struct CompressedSpan {
  HostOffset offset = {};
  std::uint64_t bytes = 0;
};

constexpr CompressedSpan compressed_span(std::uint64_t word, std::uint32_t cluster_bits) {
  const std::uint32_t offset_bits = 70 - cluster_bits;
  const std::uint64_t offset = word & ((std::uint64_t{1} << offset_bits) - 1);
  const std::uint64_t sectors =
      (word >> offset_bits & ((std::uint64_t{1} << (cluster_bits - 8)) - 1)) + 1;
  return {{offset}, sectors * format::kSector - offset % format::kSector};
}

}  // namespace sim::qcow2
