// block-commit.

#include "sim/job/commit.h"

#include <fmt/format.h>

#include <array>

#include "sim/block/chain.h"
#include "sim/command/context.h"
#include "sim/job/mirror.h"

namespace sim::command {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

Result<block::NodePtr> find_in_chain(Context& context, const block::Node& active,
                                     const std::string& name) {
  TRY(block::NodePtr node, context.graph.find_device_or_node("", name));
  if (block::chain_contains(active, *node)) return node;
  return generic(fmt::format("'{}' is not in this backing file chain", name));
}

Result<block::NodePtr> find_top(Context& context, const Json& arguments,
                                const block::NodePtr& active) {
  if (arguments.contains("top-node") && arguments.contains("top"))
    return generic("'top-node' and 'top' are mutually exclusive");
  if (arguments.contains("top-node"))
    return find_in_chain(context, *active, arguments["top-node"].get<std::string>());
  if (!arguments.contains("top")) return active;
  const std::string name = arguments["top"].get<std::string>();
  if (active->filename() == name) return active;
  if (block::NodePtr top = block::find_backing_image(*active, name)) return top;
  return generic(fmt::format("Top image file {} not found", name));
}

Result<block::NodePtr> find_base(Context& context, const Json& arguments,
                                 const block::NodePtr& top) {
  if (arguments.contains("base-node") && arguments.contains("base"))
    return generic("'base-node' and 'base' are mutually exclusive");
  if (arguments.contains("base-node"))
    return find_in_chain(context, *top, arguments["base-node"].get<std::string>());
  if (arguments.contains("base")) {
    const std::string name = arguments["base"].get<std::string>();
    if (block::NodePtr base = block::find_backing_image(*top, name)) return base;
    return no_base(context, name);
  }
  block::Node* bottom = block::next_layer(*top);
  if (bottom == nullptr) return top;
  while (block::Node* next = block::next_layer(*bottom)) bottom = next;
  return bottom->shared_from_this();
}

Result<block::NodePtr> find_active(Context& context, const std::string& device) {
  if (!context.graph.find_device_or_node(device))
    return Error{ErrorClass::device_not_found, fmt::format("Device '{}' not found", device)};
  return root_node(context, device);
}

struct Nodes {
  block::NodePtr active, top, base;
};

Result<Nodes> find_nodes(Context& context, const Json& arguments) {
  Nodes nodes;
  TRY(nodes.active, find_active(context, arguments["device"].get<std::string>()));
  TRY_OK(nodes.active->check_allowed(block::Op::commit_source));
  TRY(nodes.top, find_top(context, arguments, nodes.active));
  TRY(nodes.base, find_base(context, arguments, nodes.top));
  for (block::Node* at = nodes.top.get(); at != nullptr; at = block::below(*at)) {
    TRY_OK(at->check_allowed(block::Op::commit_target));
    if (at == nodes.base.get()) break;
  }
  if (nodes.top == nodes.base) return generic("cannot commit an image into itself");
  return nodes;
}

// Copies down what the guest writes, too, until it is completed: a mirror onto the base.
Task<Result<Json>> commit_active(Context& context, Nodes nodes, Json arguments,
                                 std::int64_t speed) {
  job::MirrorSettings settings;
  settings.job = read_job_settings(arguments, *nodes.active);
  settings.source = nodes.top;
  settings.target = nodes.base;
  settings.is_commit = true;
  settings.speed = static_cast<std::uint64_t>(speed);
  settings.speed_is_negative = speed < 0;
  settings.filter_node_name = given_text(arguments, "filter-node-name");
  settings.on_source_error = settings.on_target_error = on_error_of(arguments, "on-error");
  nodes = {};
  const auto job =
      std::make_shared<job::Mirror>(context.graph, std::move(settings), context.mirror_canary);
  job->check_id = [&context, id = job->id()] { return context.jobs.check_new_id(id); };
  CO_TRY_OK(co_await job->make_target_writable());
  Result<> ready = job->take_nodes();
  CO_TRY_OK(co_await start_or_fail(context, job, std::move(ready)));
  co_return Json::object();
}

Task<Result<Json>> block_commit(Context& context, Json arguments) {
  CO_TRY(Nodes nodes, find_nodes(context, arguments));
  const std::int64_t speed = arguments.value("speed", std::int64_t{0});
  const bool is_active = nodes.top == nodes.active;
  if (is_active || (nodes.top->cumulative().needed & block::kWrite) != 0) {
    if (arguments.contains("backing-file"))
      co_return generic(is_active ? "'backing-file' specified, but 'top' is the active layer"
                                  : "'backing-file' specified, but 'top' has a writer on it");
    co_return co_await commit_active(context, std::move(nodes), std::move(arguments), speed);
  }
  if (const block::Node* overlay = block::overlay_of(*nodes.active, *nodes.top))
    CO_TRY_OK(overlay->check_allowed(block::Op::commit_target));
  job::CommitSettings settings;
  CO_TRY(settings.job, job_settings(context, arguments, *nodes.active));
  settings.active = std::move(nodes.active);
  settings.top = std::move(nodes.top);
  settings.base = std::move(nodes.base);
  settings.backing_file = arguments.value("backing-file", "");
  settings.filter_node_name = given_text(arguments, "filter-node-name");
  settings.on_error = on_error_of(arguments, "on-error");
  settings.speed = static_cast<std::uint64_t>(speed);
  const auto job = std::make_shared<job::Commit>(context.graph, std::move(settings));
  Result<> ready = ok();
  if (speed < 0) ready = generic("Parameter 'speed' expects a non-negative value");
  if (ready) ready = co_await job->take_nodes();
  CO_TRY_OK(co_await start_or_fail(context, job, std::move(ready)));
  co_return Json::object();
}

constexpr std::array kCommands = {Command{"block-commit", block_commit}};

}  // namespace

std::span<const Command> commit_commands() { return kCommands; }

}  // namespace sim::command
