// Compressed clusters: the word that says where one is, and the two codecs.  The bytes are those
// that QEMU 7.2 writes (measured, format.md "Compressed clusters").

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/result.h"
#include "sim/qcow2/create.h"
#include "sim/qcow2/units.h"

namespace sim::qcow2 {

// What an L2 entry says of compressed data: it may begin at any byte, and its length is known in
// sectors only, so that what follows in its last sector belongs to something else.
struct CompressedSpan {
  HostOffset at;
  std::uint64_t bytes = 0;  // to the end of the last sector; at most two clusters
  friend constexpr bool operator==(CompressedSpan, CompressedSpan) = default;
};

// spec, "Compressed Clusters Descriptor", for a word with its bit 62 set.
CompressedSpan compressed_span(std::uint32_t cluster_bits, std::uint64_t word);

// The word for `bytes` bytes (at least 1, less than a cluster) at `at`; nothing if `at` is beyond
// what it can hold.
std::optional<std::uint64_t> compressed_word(std::uint32_t cluster_bits, HostOffset at,
                                             std::uint64_t bytes);

// Host clusters that a span touches.  Each of them has its count raised by one for it.
struct TouchedClusters {
  HostCluster first;
  std::uint64_t count = 0;
};
TouchedClusters touched_clusters(std::uint32_t cluster_bits, CompressedSpan span);

// `cluster` made smaller by at least a byte; nothing if it cannot be.
std::optional<std::vector<std::byte>> compress(Compression type, Bytes cluster);

// Fills `cluster` from the start of `stored`, whose end may be anything.  EIO if it does not hold
// as much.  Deflate: raw, a window of up to 32 KiB (QEMU: 4 KiB).
Result<> decompress(Compression type, Bytes stored, MutableBytes cluster);

}  // namespace sim::qcow2
