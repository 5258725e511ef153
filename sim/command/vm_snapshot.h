// Snapshots of the machine: internal snapshots of its disks, of which one keeps the machine's own
// state, too.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/block/node.h"
#include "sim/command/context.h"

namespace sim::command {

// Which disks, and which of them keeps the machine's state.
struct MachineDisks {
  std::optional<std::string> vm_state = {};            // node name; absent: the first that can
  std::optional<std::vector<std::string>> names = {};  // nodes; absent: all that are writable
};

// Nodes that a snapshot is looked for at, in this order.
struct MachineDisk {
  block::NodePtr node;
  bool included = true;  // it belongs to the machine's snapshots
};
Result<std::vector<MachineDisk>> machine_disks(Context& context, const MachineDisks& wanted);
// The one that keeps the state.
Result<block::NodePtr> vm_state_disk(const std::vector<MachineDisk>& disks,
                                     const MachineDisks& wanted);
bool can_snapshot(const block::Node& node);
std::vector<block::InternalSnapshot> snapshots_of(const block::Node& node);
std::optional<block::InternalSnapshot> find_snapshot(const block::Node& node,
                                                     const std::string& name);

// What a snapshot that is made now is told of the time.
block::InternalSnapshot snapshot_of_now(const Context& context, std::string name);
// QAPI: SnapshotInfo.
Json describe_snapshot(const block::InternalSnapshot& snapshot);

// With `overwrite` (HMP) one of that name goes first; `tag` empty then: a name is made of the date.
Task<Result<>> save_machine(Context& context, std::optional<std::string> tag, MachineDisks disks,
                            bool overwrite);
Task<Result<>> load_machine(Context& context, std::string tag, MachineDisks disks);
// With `checks` only if all disks can have snapshots.
Task<Result<>> delete_machine(Context& context, std::string tag, MachineDisks disks, bool checks);

}  // namespace sim::command
