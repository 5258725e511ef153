// block_resize.

#include <fmt/format.h>

#include <array>

#include "sim/command/context.h"

namespace sim::command {

namespace {

Result<> check_free(const Context& context, const Json& arguments, const block::Node& node) {
  Result<> free = node.check_allowed(block::Op::resize);
  if (free || !context.profile.busy_resize_names_device) return free;
  return Error{ErrorClass::generic,
               fmt::format("Device '{}' is in use", arguments.value("device", "(null)"))};
}

Task<Result<Json>> block_resize(Context& context, Json arguments) {
  CO_TRY(const block::NodePtr node,
         context.graph.find_device_or_node(arguments.value("device", ""),
                                           arguments.value("node-name", "")));
  const std::int64_t size = arguments["size"];
  if (size < 0) co_return Error{ErrorClass::generic, "Parameter 'size' expects a >0 size"};
  CO_TRY_OK(check_free(context, arguments, *node));
  block::Backend backend(context.graph, "", {block::kResize, block::kAllPermissions});
  CO_TRY_OK(backend.insert(node));
  co_await context.graph.drain_begin(node);
  const Result<> done = co_await node->truncate({.size = static_cast<std::uint64_t>(size)});
  context.graph.drain_end(*node);
  CO_TRY_OK(done);
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{"block_resize", block_resize},
};

}  // namespace

std::span<const Command> resize_commands() { return kCommands; }

}  // namespace sim::command
