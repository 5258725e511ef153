// Persistent dirty bitmaps (spec, "Bitmaps"): the directory and the tables, as they are stored.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/result.h"
#include "sim/qcow2/header.h"
#include "sim/qcow2/units.h"
#include "sim/storage/storage.h"
#include "sim/world/task.h"

namespace sim::qcow2 {

// An entry of the directory, as stored.
struct BitmapInfo {
  HostOffset table_offset = {};
  std::uint32_t table_size = 0;  // entries
  bool in_use = false;           // not saved cleanly: its bits mean nothing
  bool enabled = false;          // the flag `auto`: every write is recorded
  std::uint8_t granularity_bits = 16;
  std::string name = {};  // up to a NUL, as QEMU reads it; may be empty then
  std::uint64_t granularity() const { return std::uint64_t{1} << granularity_bits; }
  // Bits, and clusters that hold them, for a disk of `size` bytes.
  std::uint64_t bits_for(std::uint64_t size) const { return div_up(size, granularity()); }
  std::uint64_t clusters_for(std::uint64_t size, Geometry geometry) const {
    return geometry.clusters_for(div_up(bits_for(size), 8));
  }
};

// Reads the directory that `header` names; nothing if there is none.  Bounded and checked as QEMU
// does; messages are QEMU's.
Task<Result<std::vector<BitmapInfo>>> read_bitmaps(storage::Storage& file, const Header& header);

// What bitmaps that are not in use take in an image of `cluster_bytes` clusters, as `qemu-img
// measure` counts; `size` is the disk's.
std::uint64_t bitmaps_size(const std::vector<BitmapInfo>& bitmaps, std::uint64_t size,
                           std::uint64_t cluster_bytes);

// The directory's bytes, in this order.
std::vector<std::byte> serialise_bitmaps(const std::vector<BitmapInfo>& bitmaps);

// Reads the table of one bitmap and checks every entry (EINVAL).
Task<Result<std::vector<std::uint64_t>>> read_bitmap_table(storage::Storage& file,
                                                           const BitmapInfo& bitmap,
                                                           Geometry geometry);

// Checks the tables of all bitmaps that are not in use, without keeping them.  QEMU loads all bits
// when it opens an image; this fails where that fails, with its words.  Not `lax`: tables and data
// beyond the end of the file are refused.
Task<Result<>> check_bitmap_tables(storage::Storage& file, const Header& header,
                                   const std::vector<BitmapInfo>& bitmaps, bool lax);

}  // namespace sim::qcow2
