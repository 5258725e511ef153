// block-stream, change-backing-file.

#include "sim/job/stream.h"

#include <fmt/format.h>

#include <array>

#include "sim/block/chain.h"
#include "sim/command/context.h"

namespace sim::command {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

Result<> check_exclusive(const Json& arguments) {
  for (const auto& [a, b] : {std::pair{"base", "base-node"}, std::pair{"base", "bottom"},
                             std::pair{"bottom", "base-node"}})
    if (arguments.contains(a) && arguments.contains(b))
      return generic(fmt::format("'{}' and '{}' cannot be specified at the same time", a, b));
  return ok();
}

// A filter that has lost what it filters.
bool is_hollow(const Context& context, const block::Node& node) {
  return node.outlived_job && context.profile.concluded_stream_filter_is_hollow;
}

// What stays below: null for nothing.
Result<block::NodePtr> find_base(Context& context, const Json& arguments,
                                 const block::NodePtr& top) {
  if (arguments.contains("base")) {
    const std::string name = arguments["base"].get<std::string>();
    look_at(context, *top, "block-stream");
    if (block::NodePtr base = block::find_backing_image(*top, name)) return base;
    return no_base(context, name);
  }
  if (arguments.contains("base-node")) {
    const std::string name = arguments["base-node"].get<std::string>();
    TRY(block::NodePtr base, context.graph.find_device_or_node("", name));
    if (base != top && !is_hollow(context, *top) && block::chain_contains(*top, *base)) return base;
    return generic(fmt::format("Node '{}' is not a backing image of '{}'", name,
                               arguments["device"].get<std::string>()));
  }
  if (!arguments.contains("bottom")) return block::NodePtr();
  const std::string name = arguments["bottom"].get<std::string>();
  TRY(const block::NodePtr bottom, context.graph.find_device_or_node("", name));
  if (bottom->is_filter())
    return generic(fmt::format("Node '{}' is a filter, use a non-filter node as 'bottom'", name));
  if (is_hollow(context, *top) || !block::chain_contains(*top, *bottom))
    return generic(fmt::format("Node '{}' is not in a chain starting from '{}'", name,
                               arguments["device"].get<std::string>()));
  block::Node* next = block::below(*bottom);
  return next == nullptr ? nullptr : next->shared_from_this();
}

Task<Result<Json>> block_stream(Context& context, Json arguments) {
  CO_TRY_OK(check_exclusive(arguments));
  job::StreamSettings settings;
  CO_TRY(settings.node, node_or_device(context, arguments["device"].get<std::string>()));
  CO_TRY(settings.base, find_base(context, arguments, settings.node));
  for (block::Node* at = settings.node.get(); at != nullptr && at != settings.base.get();
       at = block::below(*at))
    CO_TRY_OK(at->check_allowed(block::Op::stream));
  // 5.2 writes the base's name into the image as it was given.
  const bool keeps_word = !context.profile.stream_has_filter && arguments.contains("base");
  settings.backing_file =
      arguments.value("backing-file", keeps_word ? arguments["base"] : Json(""));
  const bool names_base = arguments.contains("base") || arguments.contains("base-node");
  if (!names_base && arguments.contains("backing-file"))
    co_return generic("backing file specified, but streaming the entire chain");
  settings.job = read_job_settings(arguments, *settings.node);
  settings.filter_node_name = given_text(arguments, "filter-node-name");
  settings.on_error = on_error_of(arguments, "on-error");
  const std::int64_t speed = arguments.value("speed", std::int64_t{0});
  settings.speed = static_cast<std::uint64_t>(speed);
  settings.speed_is_negative = speed < 0;
  const auto job = std::make_shared<job::Stream>(context.graph, std::move(settings));
  job->check_id = [&context, id = job->id()] { return context.jobs.check_new_id(id); };
  Result<> ready = co_await job->take_nodes();
  CO_TRY_OK(co_await start_or_fail(context, job, std::move(ready)));
  co_return Json::object();
}

Task<Result<Json>> change_backing_file(Context& context, Json arguments) {
  const std::string device = arguments["device"].get<std::string>();
  const std::string image_name = arguments["image-node-name"].get<std::string>();
  CO_TRY(const block::NodePtr top, root_node(context, device));
  auto found = context.graph.find_device_or_node("", image_name);
  if (!found) co_return std::move(found).error();
  const block::NodePtr image = *std::move(found);
  if (block::next_layer(*image) == nullptr)
    co_return generic("not allowing backing file change on an image without a backing file");
  if (!block::chain_contains(*top, *image))
    co_return generic(fmt::format("'{}' and image file are not in the same chain", device));
  CO_TRY_OK(top->check_allowed(block::Op::change));
  const bool read_only = image->read_only;
  if (read_only) CO_TRY_OK(co_await context.graph.set_read_only(image, false));
  const block::Node& base = *block::next_layer(*image);
  Result<> done = co_await image->change_backing_name(arguments["backing-file"].get<std::string>(),
                                                      base.driver());
  if (read_only) CO_TRY_OK(co_await context.graph.set_read_only(image, true));
  if (!done)
    co_return generic(fmt::format("Could not change backing file to '{}': {}",
                                  arguments["backing-file"].get<std::string>(), done.error().desc));
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{"block-stream", block_stream},
    Command{"change-backing-file", change_backing_file},
};

}  // namespace

std::span<const Command> stream_commands() { return kCommands; }

}  // namespace sim::command
