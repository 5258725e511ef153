// Texts that several commands print, exactly as qemu-img 7.2 does.

#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sim/base/human.h"
#include "sim/qcow2/snapshot.h"

namespace sim::image {

using sim::human_size;

// The seconds that local time is ahead of UTC at a time, which is in seconds since the epoch.
// Empty: local time is UTC.
using UtcOffset = std::function<std::int64_t(std::uint64_t seconds)>;

// The table under "Snapshot list:", heading included.  Dates are in local time.
std::string snapshot_table(const std::vector<qcow2::Snapshot>& snapshots,
                           const UtcOffset& utc_offset);

}  // namespace sim::image
