#include <fmt/format.h>

#include <algorithm>

#include "sim/command/context.h"

namespace sim::command {

std::vector<const Command*> all_commands() {
  std::vector<const Command*> all;
  for (const auto area :
       {blockdev_commands(), mirror_commands(), job_commands(), query_commands(),
        transaction_commands(), device_commands(), control_commands(), monitor_commands()})
    for (const Command& command : area) all.push_back(&command);
  std::ranges::sort(all, {}, [](const Command* command) { return command->declaration.name; });
  return all;
}

static const Command* find_command(std::string_view name) {
  static const std::vector<const Command*> all = all_commands();
  const auto found = std::ranges::lower_bound(
      all, name, {}, [](const Command* command) { return command->declaration.name; });
  return found != all.end() && (*found)->declaration.name == name ? *found : nullptr;
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
  const Command* command = find_command(request.command);
  if (command == nullptr)
    co_return Error{ErrorClass::command_not_found,
                    fmt::format("The command {} has not been found", request.command)};
  if (!command->declaration.takes_anything)
    CO_TRY_OK(qmp::validate(command->declaration.arguments, request.arguments));
  co_return co_await command->run(context, std::move(request.arguments));
}

Task<Json> execute(Context& context, Json input) {
  Result<Json> result = co_await dispatch(context, input);
  co_return qmp::make_reply(input, std::move(result));
}

Task<void> drain_begin(Context& context) {
  const auto jobs = context.jobs.all();
  for (const auto& job : jobs) job->drain_begin();
  for (const auto& job : jobs)
    while (!job->is_quiet()) co_await context.world.scheduler.yield();
}

void drain_end(Context& context) {
  for (const auto& job : context.jobs.all()) job->drain_end();
}

}  // namespace sim::command
