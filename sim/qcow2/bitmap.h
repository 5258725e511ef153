// Persistent dirty bitmaps (spec, "Bitmaps"): the directory, the tables, and the bits in memory.

#pragma once

#include <cstdint>
#include <memory>
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
  HostOffset table_offset;
  std::uint32_t table_size = 0;  // entries
  bool in_use = false;           // not saved cleanly: its bits mean nothing
  bool enabled = false;          // the flag `auto`: every write is recorded
  bool extra_data_compatible = false;
  std::uint8_t granularity_bits = 16;
  std::string name;
  std::vector<std::byte> extra_data;
  std::uint64_t granularity() const { return std::uint64_t{1} << granularity_bits; }
};

// Reads the directory that `header` names; nothing if there is none.  Bounded and checked as QEMU
// does; messages are QEMU's.
Task<Result<std::vector<BitmapInfo>>> read_bitmaps(storage::Storage& file, const Header& header);

}  // namespace sim::qcow2
