// Guest and host addresses are different types: a guest offset cannot be used to seek in the image
// file, nor an offset where a cluster number is meant.  The arithmetic between them exists once.

#pragma once

#include <compare>
#include <cstdint>

namespace sim::qcow2 {

template <class Tag>
struct Unit64 {
  std::uint64_t value = 0;
  friend constexpr auto operator<=>(Unit64, Unit64) = default;
  friend constexpr Unit64 operator+(Unit64 at, std::uint64_t by) { return {at.value + by}; }
};
using GuestOffset = Unit64<struct GuestOffsetTag>;    // byte of the virtual disk
using GuestCluster = Unit64<struct GuestClusterTag>;  // cluster of the virtual disk
using HostOffset = Unit64<struct HostOffsetTag>;      // byte of the image file
using HostCluster = Unit64<struct HostClusterTag>;    // cluster of the image file

// How an address splits into indices, for one image's cluster size and kind of L2 entry.
struct Geometry {
  std::uint32_t cluster_bits = 16;
  bool extended_l2 = false;  // L2 entries of 16 bytes, with 32 subclusters a cluster

  constexpr std::uint64_t cluster_bytes() const { return std::uint64_t{1} << cluster_bits; }
  constexpr std::uint64_t l2_entry_bytes() const { return extended_l2 ? 16 : 8; }
  constexpr std::uint64_t l2_entries() const { return cluster_bytes() / l2_entry_bytes(); }
  constexpr std::uint64_t subclusters() const { return extended_l2 ? 32 : 1; }
  constexpr std::uint64_t subcluster_bytes() const { return cluster_bytes() / subclusters(); }
  constexpr std::uint64_t l1_span() const { return cluster_bytes() * l2_entries(); }

  constexpr GuestCluster cluster_of(GuestOffset at) const { return {at.value >> cluster_bits}; }
  constexpr HostCluster cluster_of(HostOffset at) const { return {at.value >> cluster_bits}; }
  constexpr std::uint64_t within(GuestOffset at) const { return at.value & (cluster_bytes() - 1); }
  constexpr std::uint64_t within(HostOffset at) const { return at.value & (cluster_bytes() - 1); }
  constexpr std::uint64_t l2_index(GuestCluster c) const { return c.value % l2_entries(); }
  constexpr std::uint64_t l1_index(GuestCluster c) const { return c.value / l2_entries(); }
  constexpr GuestOffset start_of(GuestCluster c) const { return {c.value << cluster_bits}; }
  constexpr HostOffset start_of(HostCluster c) const { return {c.value << cluster_bits}; }

  // Clusters that hold `bytes` bytes.
  constexpr std::uint64_t clusters_for(std::uint64_t bytes) const {
    return (bytes >> cluster_bits) + ((bytes & (cluster_bytes() - 1)) != 0);
  }
  // L1 entries that a disk of `bytes` bytes needs.
  constexpr std::uint64_t l1_entries_for(std::uint64_t bytes) const {
    const std::uint64_t clusters = clusters_for(bytes);
    return clusters / l2_entries() + (clusters % l2_entries() != 0);
  }
};

static_assert(Geometry{16}.l1_index(Geometry{16}.cluster_of(GuestOffset{
                  std::uint64_t{512} << 20})) == 1);  // 512 MiB per L2 table
static_assert(Geometry{16}.l1_entries_for((std::uint64_t{512} << 20) + 1) == 2);

}  // namespace sim::qcow2
