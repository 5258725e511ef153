// The bytes beneath a format driver, read and written through its file child: for children that do
// not pass on a Storage of their own (Node::storage()).

#pragma once

#include <memory>

#include "sim/block/node.h"

namespace sim::driver {

// What `parent` (which outlives it) has as its child "file" at the time of each request.
std::shared_ptr<storage::Storage> storage_through_file(block::Node& parent);

}  // namespace sim::driver
