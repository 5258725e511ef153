// Commands about single nodes that are neither made nor reopened: blockdev-set-active,
// x-blockdev-change.
//
// Source: QAPI's block-core; measured on 5.2 to 11.1 (scenarios/qmp/nodes).

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/block/backend.h"
#include "sim/command/context.h"

namespace sim::command {

namespace {

using block::NodePtr;

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

Result<NodePtr> find_named(const Context& context, const std::string& name) {
  if (NodePtr found = context.graph.find(name)) return found;
  return generic(context.profile.del_quotes_node
                     ? fmt::format("Failed to find node with node-name='{}'", name)
                     : fmt::format("Cannot find node {}", name));
}

// --- blockdev-set-active -------------------------------------------------------------------------

bool has_active_parent(const block::Node& node) {
  return std::ranges::any_of(node.parents(), [](const block::Edge* edge) {
    return edge->parent() != nullptr && !edge->parent()->inactive;
  });
}

// What nothing active uses, and then what is below it.
Task<Result<>> inactivate(Context& context, NodePtr node) {
  if (has_active_parent(*node)) co_return ok();
  if (!node->inactive) {
    CO_TRY_OK(co_await node->flush());
    CO_TRY_OK(co_await node->inactivate());
    node->inactive = true;
    CO_TRY_OK(context.graph.refresh({node.get()}));
  }
  for (const block::EdgePtr& edge : node->children())
    CO_TRY_OK(co_await inactivate(context, edge->node()));
  co_return ok();
}

// What is below it, and then the node.
Task<Result<>> activate(Context& context, NodePtr node) {
  for (const block::EdgePtr& edge : node->children())
    CO_TRY_OK(co_await activate(context, edge->node()));
  if (!node->inactive) co_return ok();
  node->inactive = false;
  if (Result<> allowed = context.graph.refresh({node.get()}); !allowed) {
    node->inactive = true;
    co_return allowed;
  }
  co_return co_await node->activate();
}

Task<Result<Json>> blockdev_set_active(Context& context, Json arguments) {
  const bool active = arguments["active"].get<bool>();
  std::vector<NodePtr> nodes = context.graph.all();
  if (arguments.contains("node-name")) {
    CO_TRY(const NodePtr node, find_named(context, arguments["node-name"].get<std::string>()));
    if (!active && !node->inactive && has_active_parent(*node))
      co_return generic("Node has active parent node");
    nodes = {node};
  }
  for (const NodePtr& node : nodes)
    CO_TRY_OK(co_await (active ? activate(context, node) : inactivate(context, node)));
  co_return Json::object();
}

// --- x-blockdev-change ---------------------------------------------------------------------------

// Only a quorum has children that come and go.
Task<Result<Json>> x_blockdev_change(Context& context, Json arguments) {
  const std::string name = arguments["parent"].get<std::string>();
  CO_TRY(const NodePtr parent, node_or_device(context, name));
  const bool has_child = arguments.contains("child"), has_node = arguments.contains("node");
  if (has_child == has_node)
    co_return generic(has_child ? "The parameters child and node are in conflict"
                                : "Either child or node must be specified");
  if (has_child) {
    const std::string child = arguments["child"].get<std::string>();
    if (parent->child(child) == nullptr)
      co_return generic(fmt::format("Node '{}' does not have child '{}'", name, child));
    co_return generic(fmt::format("The node {} does not support removing a child", name));
  }
  const std::string node = arguments["node"].get<std::string>();
  if (!context.graph.find(node)) co_return generic(fmt::format("Node '{}' not found", node));
  co_return generic(fmt::format("The node {} does not support adding a child", name));
}

constexpr std::array kCommands = {
    Command{"blockdev-set-active", blockdev_set_active},
    Command{"x-blockdev-change", x_blockdev_change},
};

}  // namespace

std::span<const Command> node_commands() { return kCommands; }

}  // namespace sim::command
