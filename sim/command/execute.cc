#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/command/action.h"
#include "sim/command/context.h"

namespace sim::command {

std::vector<const Command*> all_commands() {
  std::vector<const Command*> all;
  for (const auto area : {backup_commands(),      bitmap_commands(),
                          blockdev_commands(),    block_graph_commands(),
                          commit_commands(),      control_commands(),
                          create_commands(),      descriptor_commands(),
                          device_commands(),      internal_snapshot_commands(),
                          io_throttle_commands(), job_commands(),
                          machine_commands(),     medium_commands(),
                          mirror_commands(),      monitor_commands(),
                          node_commands(),        object_commands(),
                          iothread_commands(),    qom_commands(),
                          query_commands(),       reopen_commands(),
                          resize_commands(),      run_state_commands(),
                          snapshot_commands(),    statistics_commands(),
                          stream_commands(),      transaction_commands(),
                          vm_snapshot_commands()})
    for (const Command& command : area) all.push_back(&command);
  std::ranges::sort(all, {}, &Command::name);
  return all;
}

static const Command* find_command(std::string_view name) {
  static const std::vector<const Command*> all = all_commands();
  const auto found = std::ranges::lower_bound(all, name, {}, &Command::name);
  return found != all.end() && (*found)->name == name ? *found : nullptr;
}

static Task<Result<Json>> dispatch(Context& context, const Json& input) {
  CO_TRY(qmp::Request request, qmp::read_request(input));
  context.world.record("command", request.command);
  const bool negotiates = request.command == "qmp_capabilities";
  if (!context.negotiated && !negotiates)
    co_return Error{ErrorClass::command_not_found,
                    "Expecting capabilities negotiation with 'qmp_capabilities'"};
  if (context.negotiated && negotiates)
    co_return Error{ErrorClass::command_not_found,
                    "Capabilities negotiation is already complete, command ignored"};
  CO_TRY_OK(context.schema.check_arguments(request.command, request.arguments, context.compat));
  const Command* command = find_command(request.command);
  if (command == nullptr)
    co_return Error{
        ErrorClass::generic,
        fmt::format("understudy: command '{}' is not in this version", request.command)};
  CO_TRY(Json answer, co_await command->run(context, std::move(request.arguments)));
  if (const qmp::Message* message = context.schema.command(command->name); message->returns)
    context.schema.hide_output(*message->returns, answer, context.compat);
  co_return answer;
}

Task<Result<Json>> run_command(Context& context, std::string_view name, Json arguments) {
  const Command* command = find_command(name);
  CHECK(command != nullptr);
  return command->run(context, std::move(arguments));
}

Task<Json> execute(Context& context, Json input) {
  Result<Json> result = co_await dispatch(context, input);
  co_await context.graph.collect();
  if (context.graph.crash) context.crash = context.graph.crash;
  co_return qmp::make_reply(input, std::move(result));
}

void look_at(Context& context, const block::Node& node, std::string_view what) {
  if (node.outlived_job && context.profile.concluded_stream_filter_is_hollow)
    context.crash = fmt::format("{} while the stream of '{}' is concluded", what, node.name());
}

Task<void> begin_drained(Context& context, block::NodePtr node) {
  co_await context.graph.drain_begin(std::move(node));
  co_await context.world.scheduler.yield();
  co_await context.world.scheduler.yield();
}

Task<void> drain(Context& context, block::NodePtr node) {
  co_await context.graph.drain_begin(node);
  context.graph.drain_end(*node);
}

Result<block::NodePtr> root_node(Context& context, const std::string& name) {
  TRY(block::NodePtr node, node_or_device(context, name));
  for (const block::Edge* edge : node->parents())
    if (edge->user() == nullptr || edge->name() != "root")
      return Error{ErrorClass::generic, "Need a root block node"};
  return node;
}

block::OnError on_error_of(const Json& arguments, const char* name) {
  const std::string value = arguments.value(name, "report");
  const auto found = std::ranges::find(block::kOnErrorNames, value);
  return static_cast<block::OnError>(found - block::kOnErrorNames.begin());
}

std::optional<std::string> given_text(const Json& arguments, const char* name) {
  if (!arguments.contains(name)) return std::nullopt;
  return arguments[name].get<std::string>();
}

job::Settings read_job_settings(const Json& arguments, const block::Node& node) {
  return {.id = arguments.value("job-id", node.device_name()),
          .auto_finalize = arguments.value("auto-finalize", true),
          .auto_dismiss = arguments.value("auto-dismiss", true)};
}

Result<job::Settings> job_settings(Context& context, const Json& arguments,
                                   const block::Node& node) {
  job::Settings settings = read_job_settings(arguments, node);
  TRY_OK(context.jobs.check_new_id(settings.id));
  return settings;
}

Error no_base(const Context& context, const std::string& name) {
  if (!context.profile.missing_base_names_chain)
    return {ErrorClass::generic, fmt::format("Base '{}' not found", name)};
  return {ErrorClass::generic, fmt::format("Can't find '{}' in the backing chain", name)};
}

Task<Result<>> start_or_fail(Context& context, std::shared_ptr<job::Job> job, Result<> ready) {
  if (!ready) {
    context.jobs.fail_early(*job);
    co_return ready;
  }
  context.jobs.start(job);
  // By the time a client has read the reply, a job with a speed limit has used up its first slice.
  while (job->speed() != 0 && !job->has_settled()) co_await context.world.scheduler.yield();
  co_return ok();
}

Error no_device(const Context& context, const std::string& id) {
  constexpr std::array<std::string_view, 6> kContainers = {
      "", "/", "/machine", "/machine/peripheral", "/machine/peripheral-anon", "/objects"};
  const std::string_view no = context.profile.container_is_no;
  const bool is_container = std::ranges::find(kContainers, id) != kContainers.end();
  if (is_container && (!id.empty() || context.profile.empty_id_is_container))
    return {ErrorClass::generic, fmt::format("{} is not a {}", id, no)};
  return {ErrorClass::device_not_found, fmt::format("Device '{}' not found", id)};
}

Result<block::Backend*> backend_of_device(const Context& context, const std::string& id) {
  const Error no_backend = {ErrorClass::generic, "Device does not have a block device backend"};
  if (const device::Disk* disk = find_device(context, id)) {
    if (disk->label() == id || disk->qom_path() == id) return &disk->backend();
    return no_backend;
  }
  for (const auto& controller : context.controllers)
    if (controller->path == id || (!id.empty() && controller->id == id)) return no_backend;
  return no_device(context, id);
}

const block::Node* shown_node(const block::Backend& backend) {
  const block::Node* node = backend.node().get();
  // A backup's filter was always there to be seen (5.2).
  while (node != nullptr && node->implicit && node->driver() != "backup-top")
    node = node->filtered();
  return node;
}

Result<block::Backend*> backend_of(const Context& context, const Json& arguments) {
  if (arguments.contains("id") == arguments.contains("device"))
    return Error{ErrorClass::generic, "Need exactly one of 'device' and 'id'"};
  if (arguments.contains("id")) return backend_of_device(context, arguments["id"]);
  const std::string name = arguments["device"];
  if (block::Backend* backend = context.graph.find_backend(name)) return backend;
  return Error{ErrorClass::device_not_found, fmt::format("Device '{}' not found", name)};
}

device::Disk* find_device(const Context& context, std::string_view name) {
  for (const auto& device : context.devices)
    if (device->qom_path() == name || device->device_path() == name ||
        (!name.empty() && device->id() == name))
      return device.get();
  return nullptr;
}

}  // namespace sim::command
