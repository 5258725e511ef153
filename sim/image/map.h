// What `qemu-img map` says: which layer holds each stretch of the guest's disk, and where.

#pragma once

#include <cstdint>
#include <functional>

#include "sim/base/result.h"
#include "sim/image/layer.h"
#include "sim/world/task.h"

namespace sim::image {

// QAPI: MapEntry.
struct MapEntry {
  std::uint64_t start = 0, length = 0;
  std::uint32_t depth = 0;
  bool present = false;  // a layer has it
  bool zero = false, data = false;
  bool placed = false;  // it is at `offset` of the layer's file
  std::uint64_t offset = 0;
  Layer* layer = nullptr;
};

// Calls `entry` for the stretches of [start, end), as long as they can be, in order.  A `false`
// from it ends the walk.
Task<Result<>> map(Layer& top, std::uint64_t start, std::uint64_t end,
                   std::function<bool(const MapEntry&)> entry);

}  // namespace sim::image
