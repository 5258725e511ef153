// Where a qcow2 file keeps the times of its internal snapshots.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conformance/target/files.h"
#include "sim/base/result.h"

namespace conformance::inspect {

struct FileRange {
  std::uint64_t offset = 0, length = 0;
};

// The dates and the guest's clocks in the snapshot table, ascending; none if the file is no qcow2
// or has no snapshots.  An Error if the table cannot be read.
sim::Result<std::vector<FileRange>> snapshot_times(const Files& files, const std::string& path);

}  // namespace conformance::inspect
