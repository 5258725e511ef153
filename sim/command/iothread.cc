// x-blockdev-set-iothread, and what the property "iothread" of devices does: from which AioContext
// the requests to a node come.
//
// Source: measured on 5.2 to 11.1 (scenarios/qmp/devices/iothread).  A virtio-blk device leaves the
// main loop when its guest's driver starts, and there is no guest; a virtio-scsi adapter takes its
// disks along at once.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "sim/command/context.h"

namespace sim::command {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

using Seen = std::vector<const block::Node*>;

// A guest's device on any node that is connected with this one: its requests come from one place.
bool has_device(const block::Node& node, Seen& seen) {
  if (std::ranges::find(seen, &node) != seen.end()) return false;
  seen.push_back(&node);
  for (const block::Edge* edge : node.parents()) {
    const auto* backend = dynamic_cast<const block::Backend*>(edge->user());
    if (backend != nullptr && backend->device != nullptr) return true;
    if (edge->parent() != nullptr && has_device(*edge->parent(), seen)) return true;
  }
  return std::ranges::any_of(node.children(),
                             [&](const block::EdgePtr& edge) { return has_device(**edge, seen); });
}

bool has_device(const block::Node& node) {
  Seen seen;
  return has_device(node, seen);
}

bool is_backends_root(const block::Node& node) {
  return std::ranges::any_of(node.parents(), [](const block::Edge* edge) {
    return dynamic_cast<const block::Backend*>(edge->user()) != nullptr;
  });
}

Task<Result<Json>> x_blockdev_set_iothread(Context& context, Json arguments) {
  const std::string name = arguments["node-name"].get<std::string>();
  const block::NodePtr node = context.graph.find(name);
  if (!node)
    co_return generic(context.profile.del_quotes_node
                          ? fmt::format("Failed to find node with node-name='{}'", name)
                          : fmt::format("Cannot find node {}", name));
  if (is_backends_root(*node) && !arguments.value("force", false))
    co_return generic(fmt::format(
        "Node {} is associated with a BlockBackend and could be in use (use force=true to override "
        "this check)",
        name));
  const Json& wanted = arguments["iothread"];
  const std::string iothread = wanted.is_string() ? wanted.get<std::string>() : "";
  if (wanted.is_string() && !context.iothreads.contains(iothread))
    co_return generic(fmt::format("Cannot find iothread {}", iothread));
  if (iothread != node->context && has_device(*node))
    co_return generic("Cannot change iothread of active block backend");
  node->context = iothread;
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{"x-blockdev-set-iothread", x_blockdev_set_iothread},
};

}  // namespace

Result<> check_iothread(const Context& context, const std::string& id) {
  if (id.empty() || context.iothreads.contains(id)) return ok();
  if (context.graph.throttle_groups.objects.contains(id) || context.graph.secrets.contains(id))
    return generic("Invalid parameter type for 'iothread', expected: iothread");
  return Error{ErrorClass::device_not_found, fmt::format("Device '{}' not found", id)};
}

Result<> move_to_device(Context& context, block::Node& node,
                        const device::ScsiController* adapter) {
  using enum Profile::DisksMove;
  const auto how = context.profile.scsi_disks_move;
  const std::string there = adapter != nullptr ? adapter->iothread : "";
  const bool moves = node.context != there;
  if (!has_device(node)) {
    if (moves && !node.context.empty() && (how == aborting || (how == yes && adapter == nullptr)))
      context.crash = "device_add of a node that another iothread serves";
    node.context = there;
    return ok();
  }
  const bool refused = moves && (adapter == nullptr || how != never);
  if (refused) return generic("Cannot change iothread of active block backend");
  return ok();
}

std::span<const Command> iothread_commands() { return kCommands; }

}  // namespace sim::command
