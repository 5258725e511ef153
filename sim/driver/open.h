// From blockdev-add's options to a node.

#pragma once

#include <string>

#include "sim/base/json.h"
#include "sim/block/graph.h"

namespace sim::driver {

// Makes the node that `options` (QAPI: BlockdevOptions) describe, with its children, and adds it to
// the graph.  On an error nothing is left behind.  Errors have QEMU 7.2's texts.
Task<Result<block::NodePtr>> open_node(block::Graph& graph, Json options, bool root);

// The same for one driver; `name` is valid and free.  One file per driver.
Task<Result<block::NodePtr>> open_file(block::Graph& graph, std::string name, Json options);
Task<Result<block::NodePtr>> open_raw(block::Graph& graph, std::string name, Json options);
Task<Result<block::NodePtr>> open_qcow2(block::Graph& graph, std::string name, Json options);

// Opens the child that `reference` names (a node name) or describes (options).
Task<Result<block::NodePtr>> open_child(block::Graph& graph, Json reference);

// True for a driver that QEMU 7.2 has (QAPI: BlockdevDriver) and this version has not.
bool is_other_driver(std::string_view name);

}  // namespace sim::driver
