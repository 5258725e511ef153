#include "sim/command/vm_snapshot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ranges>

#include "sim/base/human.h"
#include "sim/block/backend.h"
#include "sim/block/chain.h"
#include "sim/job/create.h"

namespace sim::command {

namespace {

using block::InternalSnapshot;
using block::NodePtr;
using Disks = std::vector<MachineDisk>;

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

// What is kept of a machine of ours: nothing that a guest could tell.
constexpr std::string_view kState = "understudy: the state of a machine";

bool has_backend(const block::Node& node) {
  return std::ranges::any_of(node.parents(), [](const block::Edge* edge) {
    return edge->user() != nullptr && edge->name() == "root";
  });
}

MachineDisk disk_of(const NodePtr& node) {
  return {node, !node->read_only && (has_backend(*node) || node->parents().empty())};
}

// Roots of block backends in the order of these, then nodes of the monitor that are none's root.
Disks all_disks(Context& context) {
  Disks disks;
  for (const block::Backend* backend : context.graph.backends) {
    const NodePtr node = backend->node();
    if (node && std::ranges::find(disks, node, &MachineDisk::node) == disks.end())
      disks.push_back(disk_of(node));
  }
  bool skips = context.profile.machine_snapshot_skips_older_nodes && !disks.empty();
  const NodePtr last = skips ? disks.back().node : nullptr;
  for (const NodePtr& node : std::views::reverse(context.graph.all())) {
    if (!node->monitor_owned) continue;
    if (!skips && !has_backend(*node)) disks.push_back(disk_of(node));
    if (node == last) skips = false;
  }
  return disks;
}

Result<> check_all(const Disks& disks) {
  for (const MachineDisk& disk : disks)
    if (disk.included && !can_snapshot(*disk.node))
      return generic(fmt::format("Device '{}' is writable but does not support snapshots",
                                 disk.node->device_or_node_name()));
  return ok();
}

// The first that lacks it.
const MachineDisk* first_without(const Disks& disks, const std::string& tag) {
  for (const MachineDisk& disk : disks)
    if (disk.included && !find_snapshot(*disk.node, tag)) return &disk;
  return nullptr;
}

Error not_everywhere(const Profile& profile, const block::Node& node, const std::string& tag) {
  if (profile.old_machine_snapshot_texts)
    return generic(fmt::format("Device '{}' does not have the requested snapshot '{}'",
                               node.device_or_node_name(), tag));
  return generic(fmt::format("Snapshot '{}' does not exist in one or more devices", tag));
}

Error about(std::string_view doing, const std::string& tag, const block::Node& node,
            const Error& why) {
  return generic(fmt::format("Could not {} snapshot '{}' on '{}': {}", doing, tag,
                             node.device_or_node_name(), why.desc));
}

Task<Result<>> delete_everywhere(Disks disks, std::string tag) {
  for (const MachineDisk& disk : disks) {
    if (!disk.included) continue;
    const auto snapshot = find_snapshot(*disk.node, tag);
    if (!snapshot) continue;
    Result<> done = co_await block::snapshot_node(*disk.node)->delete_snapshot(snapshot->id);
    if (!done) co_return about("delete", tag, *disk.node, done.error());
  }
  co_return ok();
}

Task<Result<>> create_everywhere(Disks disks, NodePtr keeper, InternalSnapshot wanted) {
  for (const MachineDisk& disk : disks) {
    if (!disk.included) continue;
    wanted.vm_state_size = disk.node == keeper ? kState.size() : 0;
    Result<> done = co_await block::snapshot_node(*disk.node)->create_snapshot(wanted);
    if (!done) co_return about("create", wanted.name, *disk.node, done.error());
  }
  co_return ok();
}

bool passes_throttle(const block::Node& node) {
  if (node.driver() == "throttle") return true;
  return !node.supports_snapshots() && node.children().size() == 1 &&
         passes_throttle(*node.children().front()->node());
}

Task<Result<>> apply_everywhere(Disks disks, std::string tag) {
  for (const MachineDisk& disk : disks) {
    if (!disk.included) continue;
    const auto snapshot = find_snapshot(*disk.node, tag);
    Result<> done =
        co_await block::snapshot_node(*disk.node)->apply_snapshot(snapshot ? snapshot->id : tag);
    if (!done) co_return about("load", tag, *disk.node, done.error());
  }
  co_return ok();
}

// A machine that runs rests; true if it ran.
bool halt(Context& context, RunState state) {
  if (context.run_state != RunState::running) return false;
  context.run_state = state;
  context.events.emit("STOP");
  return true;
}

void go_on(Context& context) {
  context.run_state = RunState::running;
  context.events.emit("RESUME");
}

Task<Result<>> save_state(Context& context, Disks disks, NodePtr keeper, InternalSnapshot wanted) {
  co_await context.graph.drain_all_begin();
  const Bytes state = std::as_bytes(std::span(kState));
  Result<> done = co_await block::snapshot_node(*keeper)->write_vm_state(0, state);
  if (done) done = co_await create_everywhere(disks, keeper, wanted);
  context.graph.drain_all_end();
  if (!done) (void)co_await delete_everywhere(disks, wanted.name);
  co_return done;
}

// "vm-20261125225759"
std::string name_of_now(const InternalSnapshot& now) {
  std::string text = "vm-";
  for (const char c : date_text(now.date_sec, 0))
    if (c >= '0' && c <= '9') text += c;
  return text;
}

}  // namespace

bool can_snapshot(const block::Node& node) {
  return !node.read_only && block::snapshot_node(node) != nullptr;
}

std::vector<InternalSnapshot> snapshots_of(const block::Node& node) {
  const block::Node* keeper = block::snapshot_node(node);
  return keeper == nullptr ? std::vector<InternalSnapshot>() : keeper->snapshots();
}

std::optional<InternalSnapshot> find_snapshot(const block::Node& node, const std::string& name) {
  for (InternalSnapshot& it : snapshots_of(node))
    if (it.name == name) return std::move(it);
  return std::nullopt;
}

InternalSnapshot snapshot_of_now(const Context& context, std::string name) {
  constexpr std::size_t kNameMax = 255;  // QEMU cuts the rest off (measured on 5.2 to 11.1)
  name.resize(std::min(name.size(), kNameMax));
  const auto now = context.world.scheduler.now().ns;
  return {.id = {},
          .name = std::move(name),
          .date_sec = static_cast<std::uint32_t>(now / 1'000'000'000),
          .date_nsec = static_cast<std::uint32_t>(now % 1'000'000'000),
          .vm_clock_ns = context.run_state == RunState::prelaunch ? 0 : now,
          .icount = {}};
}

Result<Disks> machine_disks(Context& context, const MachineDisks& wanted) {
  if (!wanted.names) return all_disks(context);
  if (wanted.names->empty()) return generic("At least one device is required for snapshot");
  Disks disks;
  for (const std::string& name : *wanted.names) {
    NodePtr node = context.graph.find(name);
    if (!node) return generic(fmt::format("No block device node '{}'", name));
    disks.push_back({std::move(node), true});
  }
  return disks;
}

Result<NodePtr> vm_state_disk(const Disks& disks, const MachineDisks& wanted) {
  for (const MachineDisk& disk : disks)
    if (disk.included && can_snapshot(*disk.node) &&
        (!wanted.vm_state || disk.node->name() == *wanted.vm_state))
      return disk.node;
  if (wanted.vm_state)
    return generic(fmt::format("vmstate block device '{}' does not exist", *wanted.vm_state));
  return generic("no block device can store vmstate for snapshot");
}

Task<Result<>> save_machine(Context& context, std::optional<std::string> tag, MachineDisks wanted,
                            bool overwrite) {
  CO_TRY(const Disks disks, machine_disks(context, wanted));
  CO_TRY_OK(check_all(disks));
  if (tag && overwrite)
    CO_TRY_OK(co_await delete_everywhere(disks, *tag));
  else if (tag && first_without(disks, *tag) == nullptr)
    co_return generic(fmt::format("Snapshot '{}' already exists in one or more devices", *tag));
  CO_TRY(const NodePtr keeper, vm_state_disk(disks, wanted));
  InternalSnapshot now = snapshot_of_now(context, "");
  now.name = tag ? *tag : name_of_now(now);
  const bool ran = halt(context, RunState::paused);
  Result<> done = co_await save_state(context, disks, keeper, std::move(now));
  if (done) context.state_was_saved = true;
  if (ran) go_on(context);
  co_return done;
}

static Task<Result<>> load_state(Context& context, std::string tag, MachineDisks wanted) {
  CO_TRY(const Disks disks, machine_disks(context, wanted));
  CO_TRY_OK(check_all(disks));
  if (const MachineDisk* disk = first_without(disks, tag))
    co_return not_everywhere(context.profile, *disk->node, tag);
  CO_TRY(const NodePtr keeper, vm_state_disk(disks, wanted));
  if (const auto snapshot = find_snapshot(*keeper, tag); !snapshot || snapshot->vm_state_size == 0)
    co_return generic("This is a disk-only snapshot. Revert to it  offline using qemu-img");
  for (const MachineDisk& disk : disks)
    if (context.profile.load_through_throttle_crashes && passes_throttle(*disk.node))
      context.crash = "loading a snapshot of the machine through a throttle node";
  co_await context.graph.drain_all_begin();
  Result<> done = co_await apply_everywhere(disks, tag);
  context.graph.drain_all_end();
  co_return done;
}

Task<Result<>> load_machine(Context& context, std::string tag, MachineDisks wanted) {
  const bool ran = halt(context, RunState::restore_vm);
  CO_TRY_OK(co_await load_state(context, std::move(tag), std::move(wanted)));
  if (ran) go_on(context);
  co_return ok();
}

Task<Result<>> delete_machine(Context& context, std::string tag, MachineDisks wanted, bool checks) {
  CO_TRY(const Disks disks, machine_disks(context, wanted));
  if (checks) CO_TRY_OK(check_all(disks));
  co_await context.graph.drain_all_begin();
  Result<> done = co_await delete_everywhere(disks, std::move(tag));
  context.graph.drain_all_end();
  co_return done;
}

namespace {

MachineDisks disks_of(const Json& arguments) {
  MachineDisks disks{.names = arguments["devices"].get<std::vector<std::string>>()};
  if (arguments.contains("vmstate")) disks.vm_state = arguments["vmstate"].get<std::string>();
  return disks;
}

enum class Verb : std::uint8_t { save, load, remove };
constexpr std::array<std::string_view, 3> kJobTypes = {"snapshot-save", "snapshot-load",
                                                       "snapshot-delete"};

Task<Result<>> perform(Context& context, Verb verb, std::string tag, MachineDisks disks) {
  if (verb == Verb::save)
    co_return co_await save_machine(context, std::move(tag), std::move(disks), false);
  if (verb == Verb::load)
    co_return co_await load_machine(context, std::move(tag), std::move(disks));
  co_return co_await delete_machine(context, std::move(tag), std::move(disks), true);
}

template <Verb verb>
Task<Result<Json>> start(Context& context, Json arguments) {
  const std::string id = arguments["job-id"].get<std::string>();
  CO_TRY_OK(context.jobs.check_new_id(id));
  context.jobs.start(std::make_shared<job::Create>(
      context.world, id,
      [&context, tag = arguments["tag"].get<std::string>(), disks = disks_of(arguments)] {
        return perform(context, verb, tag, disks);
      },
      std::string(kJobTypes[static_cast<std::size_t>(verb)])));
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{"snapshot-delete", start<Verb::remove>},
    Command{"snapshot-load", start<Verb::load>},
    Command{"snapshot-save", start<Verb::save>},
};

}  // namespace

std::span<const Command> vm_snapshot_commands() { return kCommands; }

}  // namespace sim::command
