// What `qemu-img info` says about a layer.

#pragma once

#include <string>

#include "sim/base/json.h"
#include "sim/base/result.h"
#include "sim/image/layer.h"
#include "sim/image/texts.h"
#include "sim/qcow2/snapshot.h"
#include "sim/world/task.h"

namespace sim::image {

// QAPI: ImageInfo, with the members and values of QEMU 7.2; but "snapshots" is null if there are
// any: 65536 of them would take more memory than all else.
Task<Result<Json>> image_info(Layer& layer);

// QAPI: SnapshotInfo, for one of them.
Json snapshot_info(const qcow2::Snapshot& snapshot);

// The same as text, in qemu-img's order and words.
std::string info_text(Layer& layer, const Json& info, const UtcOffset& utc_offset);

}  // namespace sim::image
