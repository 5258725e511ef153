// The protocol's own commands and the machine's life.

#include <array>

#include "sim/command/context.h"

namespace sim::command {

namespace {

using qmp::Argument;
using qmp::Type;

constexpr std::array kCapabilities = {Argument{"enable", Type::array}};

Task<Result<Json>> qmp_capabilities(Context& context, Json arguments) {
  for (const Json& wanted : arguments.value("enable", Json::array()))
    if (wanted != "oob")
      co_return Error{ErrorClass::generic,
                      "Parameter 'null' does not accept value '" +
                          (wanted.is_string() ? wanted.get<std::string>() : wanted.dump()) + "'"};
  context.negotiated = true;
  co_return Json::object();
}

Task<Result<Json>> query_version(Context& context, Json) {
  co_return Json{{"qemu",
                  {{"major", context.profile.major},
                   {"minor", context.profile.minor},
                   {"micro", context.profile.micro}}},
                 {"package", context.profile.package}};
}

Task<Result<Json>> query_status(Context&, Json) {
  co_return Json{{"status", "prelaunch"}, {"running", false}, {"singlestep", false}};
}

Task<Result<Json>> query_commands(Context&, Json) {
  Json list = Json::array();
  for (const Command* command : all_commands())
    list.push_back({{"name", command->declaration.name}});
  co_return list;
}

// Jobs do not stop the end: they are cancelled by force and dismissed (7.2).
Task<Result<Json>> quit(Context& context, Json) {
  context.events.emit("SHUTDOWN", {{"guest", false}, {"reason", "host-qmp-quit"}});
  context.quitting = true;
  for (const auto& job : context.jobs.all()) {
    (void)job->cancel(true);
    while (job->status() != job::Status::concluded && job->status() != job::Status::null)
      co_await context.world.scheduler.yield();
    if (job->status() == job::Status::concluded) (void)job->dismiss();
  }
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{{"qmp_capabilities", kCapabilities}, qmp_capabilities},
    Command{{"query-commands", {}}, query_commands},
    Command{{"query-status", {}}, query_status},
    Command{{"query-version", {}}, query_version},
    Command{{"quit", {}}, quit},
};

}  // namespace

std::span<const Command> control_commands() { return kCommands; }

}  // namespace sim::command
