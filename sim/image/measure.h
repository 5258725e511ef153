// How large an image will be (`qemu-img measure`).

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "sim/base/result.h"
#include "sim/image/layer.h"
#include "sim/qcow2/create.h"
#include "sim/world/task.h"

namespace sim::image {

// QAPI: BlockMeasureInfo, in bytes.
struct Measure {
  std::uint64_t required = 0;                 // with the data that there is now
  std::uint64_t fully_allocated = 0;          // once everything has been written
  std::optional<std::uint64_t> bitmaps = {};  // on top, for the persistent bitmaps of the source
};

// Of a raw image of `size` bytes.
Measure measure_raw(std::uint64_t size);

// Of a new qcow2 image with `options`, for the contents of `source`, or, if that is null, for an
// empty disk of options.size bytes.  Options that QEMU refuses are refused in its words.
Task<Result<Measure>> measure_qcow2(qcow2::CreateOptions options, Layer* source);

}  // namespace sim::image
