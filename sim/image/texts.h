// Texts that several commands print, exactly as qemu-img 7.2 does.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/qcow2/snapshot.h"

namespace sim::image {

// Three significant digits and a unit: "1.5 KiB", "196 KiB", "0 B".
std::string human_size(std::uint64_t bytes);

// The table under "Snapshot list:", heading included.  Dates are in UTC: this program asks nobody
// for a time zone.
std::string snapshot_table(const std::vector<qcow2::Snapshot>& snapshots);

}  // namespace sim::image
