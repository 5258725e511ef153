// From blockdev-add's options to a node.

#pragma once

#include <initializer_list>
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
  bool force_share = false;
};

// Makes the node that `options` (QAPI: BlockdevOptions, checked by the schema) describe, with its
// children, and adds it to the graph.  `root`: it must have a node name.  On an error nothing is
// left behind once Graph::collect() has run.  Errors have QEMU's texts.
Task<Result<block::NodePtr>> open_node(block::Graph& graph, Json options, bool root,
                                       Inherited inherited = {});

// One driver's part.  `node` options common to all drivers are set by open_node afterwards, before
// the node gets users; what matters while opening is in `common`.
struct Common {
  std::string name;  // empty until settle(): to be made
  bool read_only = false;
  bool auto_read_only = false;
  bool inactive = false;
  Inherited for_children;
  // Why the options common to all drivers are refused.
  std::optional<Error> refusal;
};
using Open = Task<Result<block::NodePtr>> (*)(block::Graph& graph, Common common, Json options);
Task<Result<block::NodePtr>> open_blkdebug(block::Graph& graph, Common common, Json options);
Task<Result<block::NodePtr>> open_file(block::Graph& graph, Common common, Json options);
Task<Result<block::NodePtr>> open_copy_on_read(block::Graph& graph, Common common, Json options);
Task<Result<block::NodePtr>> open_throttle(block::Graph& graph, Common common, Json options);
// null-co and null-aio.
Task<Result<block::NodePtr>> open_null(block::Graph& graph, Common common, Json options);
Task<Result<block::NodePtr>> open_raw(block::Graph& graph, Common common, Json options);
Task<Result<block::NodePtr>> open_qcow2(block::Graph& graph, Common common, Json options);
Task<Result<block::NodePtr>> open_copy_before_write(block::Graph& graph, Common common,
                                                    Json options);
Task<Result<block::NodePtr>> open_snapshot_access(block::Graph& graph, Common common, Json options);

// What QEMU looks at when `file` is open (of drivers that open it themselves: at once), before all
// else: the options common to all drivers, and the name, which is the node's from here on.
Result<> settle(block::Graph& graph, Common& common);

// The filter `preallocate`.
Task<Result<block::NodePtr>> open_preallocate(block::Graph& graph, Common common, Json options);

// x-blockdev-amend of a node of that driver (QAPI: BlockdevAmendOptionsQcow2).
Task<Result<>> amend_qcow2(block::NodePtr node, Json options, bool force);

// Opens the child that `reference` names (a node name) or describes (options).
Task<Result<block::NodePtr>> open_child(block::Graph& graph, Json reference, Inherited inherited);

// Opens what the header of `node`, a format's node without a backing file, names as its backing
// file; null if it names none.
Task<Result<block::NodePtr>> open_backing_of(block::Graph& graph, const block::Node& node,
                                             bool force_share = false);

// Refuses those of the options named that are integers below 0 and taken as sizes.
Result<> check_sizes(const Json& options, std::initializer_list<const char*> names,
                     const Profile& profile);

// True for a node whose name leads to it whatever format it is opened as.
bool is_protocol(const block::Node& node);

// "Unknown driver 'x'", or an error of our own for one that QEMU has.
Result<> check_driver(const std::string& name);

// True for a driver that QEMU 7.2 has (QAPI: BlockdevDriver) and this version has not.
bool is_other_driver(std::string_view name);

}  // namespace sim::driver
