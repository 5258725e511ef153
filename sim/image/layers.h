// The kinds of layers.  For open.cc, and for who made a file itself.

#pragma once

#include <memory>
#include <string>

#include "sim/image/layer.h"
#include "sim/qcow2/image.h"
#include "sim/storage/storage.h"

namespace sim::image {

// `probed`: nobody said that the file is raw.  Its first sector then never becomes the start of
// another format, which the next one to probe it would believe (QEMU's rule): EPERM.
std::unique_ptr<Layer> make_raw_layer(Layer::Place place, bool writable, bool probed = false);

std::unique_ptr<Layer> make_qcow2_layer(Layer::Place place, std::unique_ptr<qcow2::Image> image);

}  // namespace sim::image
