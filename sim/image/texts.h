// Texts that several commands print, exactly as qemu-img 7.2 does.

#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sim/qcow2/snapshot.h"

namespace sim::image {

// Three significant digits and a unit: "1.5 KiB", "196 KiB", "0 B".
std::string human_size(std::uint64_t bytes);

// The seconds that local time is ahead of UTC at a time, which is in seconds since the epoch.
// Empty: local time is UTC.
using UtcOffset = std::function<std::int64_t(std::uint64_t seconds)>;

// The table under "Snapshot list:", heading included.  Dates are in local time.
std::string snapshot_table(const std::vector<qcow2::Snapshot>& snapshots,
                           const UtcOffset& utc_offset);

}  // namespace sim::image
