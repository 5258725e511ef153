// The protocol's own commands, and the machine's end.

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

// 5.2.
Task<Result<Json>> block_passwd(Context&, Json) {
  co_return Error{ErrorClass::generic, "Setting block passwords directly is no longer supported"};
}

// Jobs do not stop the end: while all is drained they are cancelled and dismissed, the newest
// first.
Task<Result<Json>> quit(Context& context, Json) {
  context.events.emit("SHUTDOWN", {{"guest", false}, {"reason", "host-qmp-quit"}});
  context.quitting = true;
  if (context.profile.drains_before_end) co_await drain_all(context);
  co_await context.graph.drain_all_begin();
  for (const auto& job : context.jobs.all()) {
    (void)job->cancel(!context.profile.quit_completes_ready_jobs);
    while (job->status() != job::Status::concluded && job->status() != job::Status::null) {
      if (job->status() == job::Status::pending) (void)job->cancel(true);  // nobody finalizes it
      co_await context.world.scheduler.yield();
    }
    if (job->status() == job::Status::concluded) (void)job->dismiss();
  }
  context.graph.drain_all_end();
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{"block_passwd", block_passwd},
    Command{"qmp_capabilities", qmp_capabilities},
    Command{"query-commands", query_commands},
    Command{"query-events", query_events},
    Command{"query-qmp-schema", query_qmp_schema},
    Command{"query-version", query_version},
    Command{"quit", quit},
};

}  // namespace

std::span<const Command> control_commands() { return kCommands; }

}  // namespace sim::command
