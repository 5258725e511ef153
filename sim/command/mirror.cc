// blockdev-mirror.

#include "sim/job/mirror.h"

#include <fmt/format.h>

#include <array>

#include "sim/command/context.h"

namespace sim::command {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

// What is declared but not simulated is refused by name, never silently ignored.
Result<> check_simulated(const Json& arguments) {
  if (arguments.value("copy-mode", "background") != "background")
    return generic("understudy: copy-mode=write-blocking is not in this version");
  if (arguments.contains("replaces"))
    return generic("understudy: 'replaces' is not in this version");
  return ok();
}

Result<job::MirrorSync> read_sync(const std::string& sync) {
  if (sync == "full") return job::MirrorSync::full;
  if (sync == "top") return job::MirrorSync::top;
  if (sync == "none") return job::MirrorSync::none;
  return generic(fmt::format("Sync mode '{}' not supported", sync));
}

Task<Result<Json>> blockdev_mirror(Context& context, Json arguments) {
  job::MirrorSettings settings;
  CO_TRY(settings.source, root_node(context, arguments["device"].get<std::string>()));
  CO_TRY(settings.target, node_or_device(context, arguments["target"].get<std::string>()));
  CO_TRY(settings.sync, read_sync(arguments["sync"].get<std::string>()));
  settings.granularity = arguments.value("granularity", std::uint64_t{0});
  const std::int64_t buffer = arguments.value("buf-size", std::int64_t{0});
  const std::int64_t speed = arguments.value("speed", std::int64_t{0});
  settings.job.id = arguments.value("job-id", settings.source->monitor_owned ? "" : "job");
  settings.job.auto_finalize = arguments.value("auto-finalize", true);
  settings.job.auto_dismiss = arguments.value("auto-dismiss", true);
  settings.filter_node_name = arguments.value("filter-node-name", "");
  settings.on_source_error = on_error_of(arguments, "on-source-error");
  settings.on_target_error = on_error_of(arguments, "on-target-error");
  CO_TRY_OK(check_simulated(arguments));
  if (buffer < 0) co_return generic("Invalid parameter 'buf-size'");
  settings.buf_size = static_cast<std::uint64_t>(buffer);
  CO_TRY_OK(job::Mirror::check(settings));
  CO_TRY_OK(context.jobs.check_new_id(settings.job.id));
  settings.speed = static_cast<std::uint64_t>(speed);
  CO_TRY_OK(settings.source->check_allowed(block::Op::mirror_source));
  CO_TRY_OK(settings.target->check_allowed(block::Op::mirror_target));
  const auto mirror =
      std::make_shared<job::Mirror>(context.graph, std::move(settings), context.mirror_canary);
  Result<> usable = ok();
  if (speed < 0) usable = generic("Parameter 'speed' expects a non-negative value");
  if (usable) usable = mirror->take_nodes();
  if (!usable) {
    context.jobs.fail_early(*mirror);
    co_return std::move(usable).error();
  }
  context.jobs.start(mirror);
  co_return Json::object();
}

constexpr std::array kCommands = {Command{"blockdev-mirror", blockdev_mirror}};

}  // namespace

std::span<const Command> mirror_commands() { return kCommands; }

}  // namespace sim::command
