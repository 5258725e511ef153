// The kinds of layers.  For open.cc, and for who made a file itself.

#pragma once

#include <memory>
#include <string>

#include "sim/image/layer.h"
#include "sim/qcow2/image.h"
#include "sim/storage/storage.h"

namespace sim::image {

std::unique_ptr<Layer> make_raw_layer(Layer::Place place, bool writable);

// `data_file` is null if the guest's data is in `file`.
std::unique_ptr<Layer> make_qcow2_layer(Layer::Place place,
                                        std::shared_ptr<storage::Storage> data_file,
                                        std::unique_ptr<qcow2::Image> image);

}  // namespace sim::image
