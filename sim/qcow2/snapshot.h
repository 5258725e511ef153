// Internal snapshots: the snapshot table, and what an entry holds (spec, "Snapshots").

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/result.h"
#include "sim/qcow2/header.h"
#include "sim/qcow2/units.h"
#include "sim/storage/storage.h"
#include "sim/world/task.h"

namespace sim::qcow2 {

struct Snapshot {
  HostOffset l1_table_offset = {};
  std::uint32_t l1_size = 0;  // entries
  std::string id = {};        // decimal digits as QEMU writes it, any text as it reads it
  std::string name = {};
  std::uint32_t date_seconds = 0;  // since the epoch
  std::uint32_t date_nanoseconds = 0;
  std::uint64_t vm_clock_ns = 0;           // how long the guest had run
  std::uint64_t vm_state_bytes = 0;        // 0: disk only
  std::optional<std::uint64_t> size = {};  // virtual size then; absent: the image's
  std::uint64_t icount = UINT64_MAX;       // UINT64_MAX: not recorded
  std::vector<std::byte> unknown_extra = {};
};

// What a new snapshot is given by its maker: this room has no clock.
struct NewSnapshot {
  std::string name = {};
  std::uint32_t date_seconds = 0;
  std::uint32_t date_nanoseconds = 0;
  std::uint64_t vm_clock_ns = 0;
  std::uint64_t vm_state_bytes = 0;  // written before, by Image::write_vm_state
  std::uint64_t icount = 0;          // qemu-img writes 0
};

// Reads the table that `header` names: bounded, every length checked before it is believed.
Task<Result<std::vector<Snapshot>>> read_snapshots(storage::Storage& file, const Header& header);

}  // namespace sim::qcow2
