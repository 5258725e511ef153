// blockdev-mirror, drive-mirror.

#include "sim/job/mirror.h"

#include <fmt/format.h>

#include <array>

#include "sim/block/chain.h"
#include "sim/command/context.h"
#include "sim/command/new_image.h"
#include "sim/driver/open.h"

namespace sim::command {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

Result<job::MirrorSync> read_sync(const std::string& sync) {
  if (sync == "full") return job::MirrorSync::full;
  if (sync == "top") return job::MirrorSync::top;
  if (sync == "none") return job::MirrorSync::none;
  return generic(fmt::format("Sync mode '{}' not supported", sync));
}

// A target that was there before gets what its header names, now that nothing is copied any more.
Task<Result<>> open_backing(Context& context, block::Node& target) {
  CO_TRY(const block::NodePtr backing, co_await driver::open_backing_of(context.graph, target));
  if (!backing) co_return ok();
  co_return context.graph.set_backing(target, backing);
}

// What both commands have, in QEMU's order (blockdev_mirror_common, mirror_start).
Task<Result<Json>> start(Context& context, Json arguments, job::MirrorSettings settings) {
  settings.granularity = arguments.value("granularity", std::uint64_t{0});
  settings.job = read_job_settings(arguments, *settings.source);
  settings.filter_node_name = given_text(arguments, "filter-node-name");
  settings.on_source_error = on_error_of(arguments, "on-source-error");
  settings.on_target_error = on_error_of(arguments, "on-target-error");
  settings.write_blocking = arguments.value("copy-mode", "background") == "write-blocking";
  settings.replaces = given_text(arguments, "replaces");
  CO_TRY_OK(job::Mirror::check_granularity(context.profile, settings));
  CO_TRY_OK(settings.source->check_allowed(block::Op::mirror_source));
  CO_TRY_OK(settings.target->check_allowed(block::Op::mirror_target));
  CO_TRY_OK(job::Mirror::check_replaced(context.graph, settings));
  CO_TRY(settings.sync, read_sync(arguments["sync"].get<std::string>()));
  if (settings.sync == job::MirrorSync::top && !context.profile.mirror_looks_at_target &&
      block::next_layer(*settings.source) == nullptr)
    settings.sync = job::MirrorSync::full;
  const std::int64_t buffer = arguments.value("buf-size", std::int64_t{0});
  if (buffer < 0) co_return generic("Invalid parameter 'buf-size'");
  settings.buf_size = static_cast<std::uint64_t>(buffer);
  if (settings.source == settings.target) co_return generic("Can't mirror node into itself");
  const std::string id = settings.job.id;
  const std::int64_t speed = arguments.value("speed", std::int64_t{0});
  settings.speed = static_cast<std::uint64_t>(speed);
  settings.speed_is_negative = speed < 0;
  const auto mirror =
      std::make_shared<job::Mirror>(context.graph, std::move(settings), context.mirror_canary);
  mirror->check_id = [&context, id] { return context.jobs.check_new_id(id); };
  mirror->open_backing = [&context](block::Node& target) { return open_backing(context, target); };
  Result<> usable = mirror->take_nodes();
  if (!usable) {
    context.jobs.fail_early(*mirror);
    co_return std::move(usable).error();
  }
  context.jobs.start(mirror);
  co_return Json::object();
}

Task<Result<Json>> blockdev_mirror(Context& context, Json arguments) {
  job::MirrorSettings settings;
  CO_TRY(settings.source, root_node(context, arguments["device"].get<std::string>()));
  CO_TRY(settings.target, node_or_device(context, arguments["target"].get<std::string>()));
  settings.zero_target = arguments["sync"] == "full";
  settings.target_is_zero = arguments.value("target-is-zero", false);
  co_return co_await start(context, std::move(arguments), std::move(settings));
}

// --- drive-mirror --------------------------------------------------------------------------------

// What a new target's header is to name: nothing if it gets everything.
const block::Node* backing_of_new(const std::string& sync, const block::Node& source) {
  if (sync == "none") return &source;
  return sync == "top" ? block::next_layer(source) : nullptr;
}

Task<Result<>> create_target(Context& context, const Json& arguments, const std::string& format,
                             const block::Node& source) {
  NewImage image{arguments["target"].get<std::string>(), format, source.size()};
  if (const block::Node* backing = backing_of_new(arguments["sync"].get<std::string>(), source)) {
    image.backing_file = explicit_node(*backing).filename();
    image.backing_format = explicit_node(*backing).driver();
  }
  co_return co_await create_image(context, std::move(image));
}

Task<Result<Json>> drive_mirror(Context& context, Json arguments) {
  job::MirrorSettings settings;
  CO_TRY(settings.source, root_node(context, arguments["device"].get<std::string>()));
  const block::Node& source = *settings.source;
  CO_TRY_OK(source.check_allowed(block::Op::mirror_source));
  const bool existing = arguments.value("mode", "absolute-paths") == "existing";
  const std::string format = arguments.value("format", existing ? "" : source.driver());
  if (arguments["sync"] == "top" && block::next_layer(source) == nullptr)
    arguments["sync"] = "full";
  if (arguments.contains("replaces") && !arguments.contains("node-name"))
    co_return generic("a node-name must be provided when replacing a named node of the graph");
  if (!existing) CO_TRY_OK(co_await create_target(context, arguments, format, source));
  CO_TRY(settings.target,
         co_await open_image(context, arguments["target"].get<std::string>(), format,
                             {.node_name = given_text(arguments, "node-name"),
                              .unmap = source.discard_unmap,
                              .probes = !arguments.contains("format"),
                              .cache_direct = source.cache_direct,
                              .cache_no_flush = source.cache_no_flush}));
  settings.backing = existing ? job::MirrorBacking::as_in_header : job::MirrorBacking::from_source;
  settings.zero_target = arguments["sync"] == "full" && existing;
  settings.target_is_zero = !existing;
  settings.unmap = arguments.value("unmap", true);
  co_return co_await start(context, std::move(arguments), std::move(settings));
}

constexpr std::array kCommands = {Command{"blockdev-mirror", blockdev_mirror},
                                  Command{"drive-mirror", drive_mirror}};

}  // namespace

std::span<const Command> mirror_commands() { return kCommands; }

}  // namespace sim::command
