// From blockdev-add's options to a node.

#pragma once

#include <optional>
#include <string>

#include "sim/base/json.h"
#include "sim/block/graph.h"

namespace sim::driver {

// What a node takes over from the one it is opened for (QEMU: bdrv_inherited_options).
struct Inherited {
  bool read_only = false;
  bool auto_read_only = false;
  bool cache_direct = false, cache_no_flush = false;
  bool unmap = false;
};

// Makes the node that `options` (QAPI: BlockdevOptions, checked by the schema) describe, with its
// children, and adds it to the graph.  `root`: it must have a node name.  On an error nothing is
// left behind once Graph::collect() has run.  Errors have QEMU's texts.
Task<Result<block::NodePtr>> open_node(block::Graph& graph, Json options, bool root,
                                       Inherited inherited = {});

// One driver's part.  `node` options common to all drivers are set by open_node afterwards, before
// the node gets users; what matters while opening is in `common`.
struct Common {
  std::string name;
  bool read_only = false;
  bool auto_read_only = false;
  Inherited for_children;
};
using Open = Task<Result<block::NodePtr>> (*)(block::Graph& graph, Common common, Json options);
Task<Result<block::NodePtr>> open_file(block::Graph& graph, Common common, Json options);
Task<Result<block::NodePtr>> open_raw(block::Graph& graph, Common common, Json options);
Task<Result<block::NodePtr>> open_qcow2(block::Graph& graph, Common common, Json options);

// Opens the child that `reference` names (a node name) or describes (options).
Task<Result<block::NodePtr>> open_child(block::Graph& graph, Json reference, Inherited inherited);

// True for a driver that QEMU 7.2 has (QAPI: BlockdevDriver) and this version has not.
bool is_other_driver(std::string_view name);

}  // namespace sim::driver
