// Persistent bitmaps between a node and its image: the node's record, the image keeps them while
// nobody has it open.

#pragma once

#include <memory>
#include <vector>

#include "sim/block/bitmap.h"
#include "sim/qcow2/image.h"

namespace sim::driver {

using Bitmaps = std::vector<std::shared_ptr<block::DirtyBitmap>>;

// Those of the image, in its order; read-only ones if it is not open for writing.
Task<Result<Bitmaps>> load_bitmaps(qcow2::Image& image);

// Gives the image what is persistent of `bitmaps` (oldest first), for its close() to store.
Task<Result<>> give_bitmaps(qcow2::Image& image, Bitmaps bitmaps);

}  // namespace sim::driver
