// The bytes of nodes, as a Storage: their own (Node::storage()), or what they are read and written
// as.

#pragma once

#include <memory>
#include <string>

#include "sim/block/node.h"

namespace sim::driver {

// The bytes of that child of `parent`, which outlives it; if they are not the child's own, of what
// is the child at the time of each request.
std::shared_ptr<storage::Storage> storage_through(block::Node& parent, std::string child);

// The same for a node by itself, which it keeps.
std::shared_ptr<storage::Storage> storage_of(const block::NodePtr& node);

}  // namespace sim::driver
