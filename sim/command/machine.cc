// What the machine is, beside its disks: query-name, query-uuid, query-cpus-fast, set-action.

#include <array>

#include "sim/command/context.h"

namespace sim::command {

namespace {

Task<Result<Json>> query_name(Context& /*context*/, Json /*arguments*/) {
  co_return Json::object();
}

Task<Result<Json>> query_uuid(Context& /*context*/, Json /*arguments*/) {
  co_return Json{{"UUID", "00000000-0000-0000-0000-000000000000"}};
}

// Every release can (measured); none of our machines does.
Task<Result<Json>> query_kvm(Context& /*context*/, Json /*arguments*/) {
  co_return Json{{"enabled", false}, {"present", true}};
}

// One, unless the machine is `none`.
Task<Result<Json>> query_cpus_fast(Context& context, Json /*arguments*/) {
  if (!context.can_suspend) co_return Json::array();
  Json cpu = {{"cpu-index", 0},
              {"props", {{"core-id", 0}, {"socket-id", 0}, {"thread-id", 0}}},
              {"qom-path", "/machine/unattached/device[0]"},
              {"target", "x86_64"},
              {"thread-id", 1}};
  if (context.profile.cpus_have_arch) cpu["arch"] = "x86";
  if (context.profile.cpus_have_type) cpu["qom-type"] = "qemu64-x86_64-cpu";
  co_return Json::array({std::move(cpu)});
}

Task<Result<Json>> query_pr_managers(Context& /*context*/, Json /*arguments*/) {
  co_return Json::array();
}

// What the machine does when its guest ends, crashes or hangs: ours has none.
Task<Result<Json>> set_action(Context& /*context*/, Json /*arguments*/) {
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{"query-cpus-fast", query_cpus_fast}, Command{"query-kvm", query_kvm},
    Command{"query-name", query_name},           Command{"query-pr-managers", query_pr_managers},
    Command{"query-uuid", query_uuid},           Command{"set-action", set_action},
    Command{"watchdog-set-action", set_action},
};

}  // namespace

std::span<const Command> machine_commands() { return kCommands; }

}  // namespace sim::command
