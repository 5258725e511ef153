// Internal snapshots: the snapshot table, and what an entry holds (spec, "Snapshots").

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
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

// The table as a check sees it.
struct SnapshotTable {
  std::vector<Snapshot> snapshots = {};
  std::uint64_t bytes = 0;      // its length in the file
  std::uint64_t discarded = 0;  // what a repair leaves out: snapshots, and metadata of snapshots
};
// With `repair` what QEMU refuses to open is left out instead, and said.
Task<Result<SnapshotTable>> read_snapshot_table(
    storage::Storage& file, const Header& header, bool repair,
    const std::function<void(std::string_view)>& finding);

// The bytes of a table, as QEMU writes it; `disk_size` for snapshots that do not know their own.
Result<std::vector<std::byte>> serialise_snapshots(const std::vector<Snapshot>& snapshots,
                                                   std::uint64_t disk_size);

class Refcounts;
class Tables;
// Puts a new table into clusters of its own and lets the header name it: a power cut leaves one of
// the two.  Gives the place of the old one, whose clusters are still to be released.  `header`
// follows.
Task<Result<HostOffset>> store_snapshots(storage::Storage& file, Tables& tables,
                                         Refcounts& refcounts, Header& header,
                                         const std::vector<Snapshot>& snapshots,
                                         std::uint64_t disk_size);

}  // namespace sim::qcow2
