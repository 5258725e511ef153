// The protocol's own commands and the machine's life.

#include <array>

#include "sim/command/context.h"

namespace sim::command {

namespace {

Task<Result<Json>> qmp_capabilities(Context& context, Json) {
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

// Names of all that the release has, as QEMU lists them: what is not declared too.
Json list_names(const Context& context, bool of_events) {
  Json list = Json::array();
  for (const std::string_view name : context.schema.names(of_events))
    list.push_back({{"name", name}});
  return list;
}

Task<Result<Json>> query_commands(Context& context, Json) { co_return list_names(context, false); }

Task<Result<Json>> query_events(Context& context, Json) { co_return list_names(context, true); }

Task<Result<Json>> query_qmp_schema(Context& context, Json) {
  co_return context.schema.introspection(context.compat);
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
    Command{"qmp_capabilities", qmp_capabilities},
    Command{"query-commands", query_commands},
    Command{"query-events", query_events},
    Command{"query-qmp-schema", query_qmp_schema},
    Command{"query-status", query_status},
    Command{"query-version", query_version},
    Command{"quit", quit},
};

}  // namespace

std::span<const Command> control_commands() { return kCommands; }

}  // namespace sim::command
