// Clusters that were reserved, and never written.

#pragma once

#include "sim/base/result.h"
#include "sim/qcow2/header.h"
#include "sim/storage/storage.h"
#include "sim/world/task.h"

namespace sim::image {

// True if the file counts many more clusters than are stored (preallocation=metadata): QEMU then
// looks for holes behind the data, measured on 7.2.  Looks at the counts of the whole file.
Task<Result<bool>> is_preallocated(storage::Storage& file, const qcow2::Header& header);

}  // namespace sim::image
