// blockdev-snapshot-internal-sync, alone or as an action of a transaction, and
// blockdev-snapshot-delete-internal-sync.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "sim/block/chain.h"
#include "sim/command/action.h"
#include "sim/command/vm_snapshot.h"

namespace sim::command {

namespace {

using block::InternalSnapshot;

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

// By both, if both are given.
std::optional<InternalSnapshot> find(const block::Node& keeper,
                                     const std::optional<std::string>& id,
                                     const std::optional<std::string>& name) {
  for (InternalSnapshot& it : keeper.snapshots())
    if ((!id || it.id == *id) && (!name || it.name == *name)) return std::move(it);
  return std::nullopt;
}

Result<> check_snapshot(const block::Node& node, const std::string& device,
                        const std::string& name) {
  TRY_OK(node.check_allowed(block::Op::internal_snapshot));
  if (node.read_only) return generic(fmt::format("Device '{}' is read only", device));
  const block::Node* keeper = block::snapshot_node(node);
  if (keeper == nullptr)
    return generic(
        fmt::format("Block format '{}' used by device '{}' does not support internal "
                    "snapshots",
                    node.driver(), device));
  if (name.empty()) return generic("Name is empty");
  if (find(*keeper, std::nullopt, name))
    return generic(
        fmt::format("Snapshot with name '{}' already exists on device '{}'", name, device));
  return ok();
}

Task<Result<Prepared>> snapshot(Context& context, Json arguments,
                                std::shared_ptr<job::Transaction>) {
  const std::string device = arguments["device"].get<std::string>();
  const std::string name = arguments["name"].get<std::string>();
  CO_TRY(const block::NodePtr node, root_node(context, device));
  CO_TRY_OK(check_snapshot(*node, device, name));
  const block::NodePtr keeper = block::snapshot_node(*node)->shared_from_this();
  const InternalSnapshot now = snapshot_of_now(context, name);
  if (Result<> made = co_await keeper->create_snapshot(now); !made)
    co_return generic(fmt::format("Failed to create snapshot '{}' on device '{}': {}", name, device,
                                  made.error().desc));
  const std::string id = keeper->snapshots().back().id;
  co_return Prepared{.abort_waiting = [keeper, id]() -> Task<void> {
    (void)co_await keeper->delete_snapshot(id);
  }};
}

std::string text_or_null(const std::optional<std::string>& text) { return text.value_or("null"); }

// Tells what it has deleted.
Task<Result<Json>> delete_snapshot(Context& context, Json arguments) {
  const std::string device = arguments["device"].get<std::string>();
  std::optional<std::string> id, name;
  if (arguments.contains("id")) id = arguments["id"].get<std::string>();
  if (arguments.contains("name")) name = arguments["name"].get<std::string>();
  CO_TRY(const block::NodePtr node, root_node(context, device));
  if (!id && !name) co_return generic("Name or id must be provided");
  CO_TRY_OK(node->check_allowed(block::Op::internal_snapshot_delete));
  block::Node* found = block::snapshot_node(*node);
  if (found == nullptr) co_return generic("Failed to get a snapshot list: Operation not supported");
  const block::NodePtr keeper = found->shared_from_this();
  const auto snapshot = find(*keeper, id, name);
  if (!snapshot)
    co_return generic(
        fmt::format("Snapshot with id '{}' and name '{}' does not exist on device '{}'",
                    text_or_null(id), text_or_null(name), device));
  co_await drain(context, node);
  CO_TRY_OK(co_await keeper->delete_snapshot(snapshot->id));
  co_return describe_snapshot(*snapshot);
}

constexpr Action kSnapshot{"blockdev-snapshot-internal-sync", snapshot, false, true};
constexpr std::array kActions = {kSnapshot};

constexpr std::array kCommands = {
    Command{kSnapshot.type, alone<kSnapshot>},
    Command{"blockdev-snapshot-delete-internal-sync", delete_snapshot},
};

}  // namespace

std::span<const Action> internal_snapshot_actions() { return kActions; }
std::span<const Command> internal_snapshot_commands() { return kCommands; }

}  // namespace sim::command
