// What QMP commands work on: the parts of one machine.

#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "sim/block/graph.h"
#include "sim/device/disk.h"
#include "sim/job/job.h"
#include "sim/job/mirror.h"
#include "sim/qmp/events.h"
#include "sim/qmp/profile.h"
#include "sim/qmp/request.h"
#include "sim/qmp/schema.h"

namespace sim::command {

// QAPI's RunState, as far as a machine of ours gets: -S or a reset while stopped, `stop`, `cont`,
// a snapshot of it that could not be loaded.
enum class RunState : std::uint8_t { prelaunch, paused, running, restore_vm };
inline constexpr std::array<std::string_view, 4> kRunStateNames = {"prelaunch", "paused", "running",
                                                                   "restore-vm"};

struct Context {
  World& world;
  const qmp::Profile& profile;
  const qmp::Schema& schema;
  block::Graph& graph;
  job::Jobs& jobs;
  qmp::Events& events;
  std::vector<std::unique_ptr<device::Disk>>& devices;
  std::vector<std::unique_ptr<device::ScsiController>>& controllers;
  std::string& standard_output;  // what the process printed: qemu-io's texts go there
  bool& negotiated;              // qmp_capabilities was given
  bool& quitting;
  job::MirrorCanary mirror_canary = job::MirrorCanary::none;
  qmp::Compat compat = {};         // as -compat said
  bool can_suspend = true;         // not `-machine none`
  unsigned anonymous_devices = 0;  // devices without an id so far
  unsigned anonymous_buses = 0;    // SCSI adapters without an id so far
  // device_add's properties come from a command line.
  bool properties_are_text = false;
  std::vector<std::string> monitors = {};             // ids: where they are objects
  std::set<std::string, std::less<>> iothreads = {};  // ids
  // Of -drive: named; a guest's device takes its drive along when it goes.
  std::vector<std::unique_ptr<block::Backend>> drives = {};
  std::set<std::string, std::less<>> connected_drives = {};  // names of those with `if`
  std::map<std::string, unsigned> drives_by_bus = {};  // how many of "none", "virtio" there were
  RunState run_state = RunState::prelaunch;
  bool state_was_saved = false;  // which QEMU counts as a migration
  // A handler found that this release crashes of the command; its reply is never sent.
  std::optional<std::string> crash = {};
};

using Handler = Task<Result<Json>> (*)(Context&, Json arguments);

struct Command {
  std::string_view name;
  Handler run;  // its arguments have passed Schema::check_arguments
};

// One table per area; each stands at the end of its file.
std::span<const Command> backup_commands();
std::span<const Command> bitmap_commands();
std::span<const Command> blockdev_commands();
std::span<const Command> create_commands();
std::span<const Command> node_commands();
std::span<const Command> reopen_commands();
std::span<const Command> snapshot_commands();
std::span<const Command> internal_snapshot_commands();
std::span<const Command> vm_snapshot_commands();
std::span<const Command> mirror_commands();
std::span<const Command> job_commands();
std::span<const Command> stream_commands();
std::span<const Command> commit_commands();
std::span<const Command> query_commands();
std::span<const Command> run_state_commands();
std::span<const Command> transaction_commands();
std::span<const Command> device_commands();
std::span<const Command> control_commands();
std::span<const Command> monitor_commands();
std::span<const Command> object_commands();
std::span<const Command> resize_commands();
std::span<const Command> statistics_commands();
std::span<const Command> io_throttle_commands();
std::span<const Command> medium_commands();
std::span<const Command> block_graph_commands();
std::span<const Command> machine_commands();
std::span<const Command> descriptor_commands();
std::span<const Command> qom_commands();
std::span<const Command> iothread_commands();

// Everything at and above the node rests for a moment.
Task<void> drain(Context& context, block::NodePtr node);
// What more than a node's name is needed for: a crash, of the filter of a concluded stream.
void look_at(Context& context, const block::Node& node, std::string_view what);
// Everything rests for a moment; jobs have gone on before the command is answered (7.2 to 11.1).
Task<void> drain_all(Context& context);

// What -drive does, with its options as text: a named backend, open or empty, and the device that
// `if` asks for.
Task<Result<>> add_drive(Context& context, Json options);

// That of a device's property: "" is the main loop, "Device 'x' not found".
Result<> check_iothread(const Context& context, const std::string& id);
// Before a device is put on the node: a SCSI disk of that adapter, or (null) another.
Result<> move_to_device(Context& context, block::Node& node, const device::ScsiController* adapter);

// Takes a disk out of the machine, and says so.
Task<void> unplug(Context& context, const device::Disk* disk);

// Checks and runs one request; the reply has the request's id.
Task<Json> execute(Context& context, Json input);

// Runs a command on behalf of another; its arguments are right.
Task<Result<Json>> run_command(Context& context, std::string_view name, Json arguments);

// Every command that does something, by name.
std::vector<const Command*> all_commands();

// By name of a device or a node: "Cannot find device='x' nor node-name='x'".
inline Result<block::NodePtr> node_or_device(Context& context, const std::string& name) {
  return context.graph.find_device_or_node(name);
}

// The same, if nothing but block backends uses it: "Need a root block node".
Result<block::NodePtr> root_node(Context& context, const std::string& name);

// A text among arguments, if it is there.
std::optional<std::string> given_text(const Json& arguments, const char* name);

// QAPI's BlockdevOnError as an argument; `report` if it is not there.
block::OnError on_error_of(const Json& arguments, const char* name);

// The settings that all jobs have.  Without `job-id` the job is called like the device whose root
// `node` is; not at all if it is none's.
job::Settings read_job_settings(const Json& arguments, const block::Node& node);
// The same, with the id checked: "Invalid job ID ''".
Result<job::Settings> job_settings(Context& context, const Json& arguments,
                                   const block::Node& node);

// No image of the chain has that file name.
Error no_base(const Context& context, const std::string& name);

// Starts a job that was given its nodes, or ends it early if it was refused them.
Task<Result<>> start_or_fail(Context& context, std::shared_ptr<job::Job> job, Result<> ready);

// What is said of an id or path that names no device: "Device 'x' not found".
Error no_device(const Context& context, const std::string& id);
// The backend of the device that `id` names, or no_device().
Result<block::Backend*> backend_of_device(const Context& context, const std::string& id);
// By `device`, a block device's name, or `id`: "Need exactly one of 'device' and 'id'".
Result<block::Backend*> backend_of(const Context& context, const Json& arguments);

// The node that queries show as the backend's: filters that nobody asked for are skipped.
const block::Node* shown_node(const block::Backend& backend);

// The guest's disk with that id, QOM path, or QOM path of its backend; null if there is none.
device::Disk* find_device(const Context& context, std::string_view name);

}  // namespace sim::command
