// transaction: several actions that happen together or not at all.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ranges>

#include "sim/command/action.h"

namespace sim::command {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

Result<const Action*> find_action(const std::string& type) {
  for (const auto area :
       {bitmap_actions(), backup_actions(), snapshot_actions(), internal_snapshot_actions()}) {
    const auto known = std::ranges::find(area, type, &Action::type);
    if (known != area.end()) return &*known;
  }
  return generic(fmt::format("understudy: transaction action '{}' is not in this version", type));
}

// Those that were prepared, in the order in which this release commits them.
Task<void> commit_all(const Profile& profile, std::vector<Prepared>& prepared) {
  if (profile.transaction_commits_backwards) std::ranges::reverse(prepared);
  for (const Prepared& action : prepared)
    if (action.commit) co_await action.commit();
}

// From 10.0 on: before anything is prepared.
Result<> check_grouping(const Json& actions, const std::shared_ptr<job::Transaction>& jobs) {
  for (const Json& action : actions) {
    const std::string type = action["type"].get<std::string>();
    if (jobs && type != "blockdev-backup" && type != "drive-backup")
      return generic(fmt::format(
          "Action '{}' does not support transaction property completion-mode = grouped", type));
  }
  return ok();
}

bool is_missing_bitmap(const Context& context, const Json& data) {
  const auto node = context.graph.find_device_or_node(data["node"].get<std::string>());
  return !node || (*node)->find_bitmap(data["name"].get<std::string>()) == nullptr;
}

Task<Result<>> prepare_all(Context& context, const Json& actions,
                           const std::shared_ptr<job::Transaction>& jobs,
                           std::vector<Prepared>& prepared) {
  if (context.profile.grouping_is_checked_first) CO_TRY_OK(check_grouping(actions, jobs));
  for (const Json& action : actions) {
    const std::string type = action["type"].get<std::string>();
    CO_TRY(const Action* known, find_action(type));
    // Every release undoes what it has not done (scenarios/qmp/transactions/enable-missing).
    if (jobs && !known->can_be_grouped && type == "block-dirty-bitmap-enable")
      context.crash = "a grouped transaction that enables a bitmap";
    if (jobs && !known->can_be_grouped)
      co_return generic(fmt::format(
          "Action '{}' does not support Transaction property completion-mode = grouped", type));
    auto done = co_await known->prepare(context, action["data"], jobs);
    if (!done && type == "block-dirty-bitmap-enable" && is_missing_bitmap(context, action["data"]))
      context.crash = "a transaction that enables a bitmap that is not there";
    if (!done) co_return std::move(done).error();
    prepared.push_back(*std::move(done));
  }
  co_return ok();
}

// Whether a backup in a transaction that is refused drained the filter of a backup before it, which
// goes with that one: every release ends its drained section once too often and aborts (measured,
// 5.2 to 11.1; scenarios/qmp/transactions/backup-of-filter).
bool drains_filter_that_goes(const Context& context, const Json& actions, std::size_t prepared) {
  const auto is_backup = [&](std::size_t i) {
    const std::string type = actions[i]["type"].get<std::string>();
    return type == "blockdev-backup" || type == "drive-backup";
  };
  for (std::size_t i = 1; i < actions.size() && i <= prepared; ++i) {
    if (!is_backup(i)) continue;
    const Json& data = actions[i]["data"];
    // What is refused for want of its target has drained nothing.
    if (i == prepared && actions[i]["type"] == "blockdev-backup" &&
        !context.graph.find_device_or_node(data["target"].get<std::string>()))
      continue;
    for (std::size_t k = 0; k < i; ++k)
      if (is_backup(k) && actions[k]["data"].value("filter-node-name", Json()) == data["device"])
        return true;
  }
  return false;
}

Task<Result<Json>> perform(Context& context, Json actions, std::shared_ptr<job::Transaction> jobs) {
  co_await context.graph.drain_all_begin();
  context.graph.drain_all_end();
  std::vector<Prepared> prepared;
  Result<> done = co_await prepare_all(context, actions, jobs, prepared);
  if (done) {
    co_await commit_all(context.profile, prepared);
  } else {
    if (drains_filter_that_goes(context, actions, prepared.size()))
      context.crash = "a refused transaction with a backup of another backup's filter";
    for (const Prepared& action : std::views::reverse(prepared)) {
      if (action.abort) action.abort();
      if (action.abort_waiting) co_await action.abort_waiting();
    }
  }
  for (const Prepared& action : prepared)
    if (action.clean) action.clean();
  if (!done) co_return std::move(done).error();
  co_return Json::object();
}

Task<Result<Json>> transaction(Context& context, Json arguments) {
  const Json properties = arguments.value("properties", Json::object());
  std::shared_ptr<job::Transaction> jobs;
  if (properties.value("completion-mode", "individual") == "grouped")
    jobs = std::make_shared<job::Transaction>();
  return perform(context, arguments["actions"], jobs);
}

constexpr std::array kCommands = {Command{"transaction", transaction}};

}  // namespace

Task<Result<Json>> perform_alone(Context& context, const Action& action, Json arguments) {
  if (action.is_transaction) {
    co_await context.graph.drain_all_begin();
    context.graph.drain_all_end();
  }
  CO_TRY(const Prepared prepared, co_await action.prepare(context, std::move(arguments), nullptr));
  if (prepared.commit) co_await prepared.commit();
  if (prepared.clean) prepared.clean();
  co_return Json::object();
}

std::span<const Command> transaction_commands() { return kCommands; }

}  // namespace sim::command
