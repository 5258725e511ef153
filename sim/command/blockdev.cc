// blockdev-add, blockdev-del, blockdev-create.

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "sim/block/backend.h"
#include "sim/command/context.h"
#include "sim/driver/open.h"

namespace sim::command {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

Task<Result<Json>> blockdev_add(Context& context, Json arguments) {
  CO_TRY(const block::NodePtr node,
         co_await driver::open_node(context.graph, std::move(arguments), true));
  for (const block::EdgePtr& child : node->children())
    look_at(context, *child->node(), "blockdev-add");
  node->monitor_owned = true;
  co_return Json::object();
}

// In QEMU's order.
Result<> check_deletable(const block::Node& node) {
  for (const block::Edge* edge : node.parents())
    if (edge->user() != nullptr && edge->name() == "root")
      return generic(fmt::format("Node {} is in use", node.name()));
  TRY_OK(node.check_allowed(block::Op::drive_del));
  if (!node.monitor_owned)
    return generic(fmt::format("Node {} is not owned by the monitor", node.name()));
  if (!node.parents().empty())
    return generic(fmt::format("Block device {} is in use", node.name()));
  return ok();
}

Task<Result<Json>> blockdev_del(Context& context, Json arguments) {
  const std::string name = arguments["node-name"].get<std::string>();
  block::NodePtr node = context.graph.find(name);
  if (!node)
    co_return generic(context.profile.del_quotes_node
                          ? fmt::format("Failed to find node with node-name='{}'", name)
                          : fmt::format("Cannot find node {}", name));
  CO_TRY_OK(check_deletable(*node));
  node->monitor_owned = false;
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{"blockdev-add", blockdev_add},
    Command{"blockdev-del", blockdev_del},
};

}  // namespace

std::span<const Command> blockdev_commands() { return kCommands; }

}  // namespace sim::command
