// blockdev-snapshot, block-dirty-bitmap-add and -remove, alone or together in a transaction.
//
// Each is an action: checked and done in turn, undone in reverse if a later one fails.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>

#include "sim/command/context.h"

namespace sim::command {

namespace {

using Undo = std::function<void()>;

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

// --- blockdev-snapshot ---------------------------------------------------------------------------

Result<> check_overlay(const block::Node& node, const block::Node& overlay) {
  TRY_OK(node.check_allowed(block::Op::external_snapshot));
  for (const block::Edge* edge : overlay.parents())
    if ((edge->needed() & block::kConsistentRead) != 0)
      return generic("The overlay is already in use");
  if (overlay.backing() != nullptr) return generic("The overlay already has a backing image");
  if (overlay.read_only) return generic("Block node is read-only");
  if (!overlay.supports_backing()) return generic("The overlay does not support backing images");
  return ok();
}

Result<Undo> snapshot(Context& context, const Json& arguments) {
  TRY(const block::NodePtr node, node_or_device(context, arguments["node"].get<std::string>()));
  TRY(const block::NodePtr overlay,
      node_or_device(context, arguments["overlay"].get<std::string>()));
  TRY_OK(check_overlay(*node, *overlay));
  TRY_OK(context.graph.insert_above(overlay, node, "backing", block::kCow));
  return Undo([&context, node, overlay] {
    CHECK(context.graph.remove_overlay(overlay, node), "what was may be again");
  });
}

// --- bitmaps -------------------------------------------------------------------------------------

std::shared_ptr<block::DirtyBitmap> find_bitmap(const block::Node& node, const std::string& name) {
  for (const auto& bitmap : node.bitmaps)
    if (bitmap->name() == name) return bitmap;
  return nullptr;
}

Result<Undo> bitmap_add(Context& context, const Json& arguments) {
  const std::string name = arguments["name"].get<std::string>();
  TRY(const block::NodePtr node, node_or_device(context, arguments["node"].get<std::string>()));
  if (name.empty()) return generic("Bitmap name cannot be empty");
  const std::uint64_t cluster = node->cluster_size();
  const std::uint64_t usual =
      cluster == 0 ? 64_KiB : std::clamp<std::uint64_t>(cluster, 4_KiB, 64_KiB);
  const std::uint64_t granularity = arguments.value("granularity", usual);
  if (granularity < 512 || !is_power_of_two(granularity))
    return generic("Granularity must be power of 2 and at least 512");
  if (arguments.value("persistent", false))
    return generic("understudy: persistent bitmaps are not in this version");
  if (find_bitmap(*node, name)) return generic(fmt::format("Bitmap already exists: {}", name));
  if (name.size() > 1023) return generic(fmt::format("Bitmap name too long: {}", name));
  auto bitmap = std::make_shared<block::DirtyBitmap>(name, node->size(), granularity);
  bitmap->enabled = !arguments.value("disabled", false);
  node->bitmaps.push_back(bitmap);
  return Undo([node, bitmap] { std::erase(node->bitmaps, bitmap); });
}

Result<Undo> bitmap_remove(Context& context, const Json& arguments) {
  const std::string node_name = arguments["node"].get<std::string>();
  const std::string name = arguments["name"].get<std::string>();
  const block::NodePtr node = context.graph.find(node_name);
  if (!node) return generic(fmt::format("Node '{}' not found", node_name));
  auto bitmap = find_bitmap(*node, name);
  if (!bitmap || name.empty()) return generic(fmt::format("Dirty bitmap '{}' not found", name));
  const auto before = node->bitmaps;
  std::erase(node->bitmaps, bitmap);
  return Undo([node, before] { node->bitmaps = before; });
}

Result<Undo> abort_action(Context&, const Json&) {
  return generic("Transaction aborted using Abort action");
}

// --- alone and together --------------------------------------------------------------------------

struct Action {
  std::string_view type;
  Result<Undo> (*perform)(Context&, const Json& arguments);
};
constexpr std::array kActions = {
    Action{"abort", abort_action},
    Action{"block-dirty-bitmap-add", bitmap_add},
    Action{"block-dirty-bitmap-remove", bitmap_remove},
    Action{"blockdev-snapshot", snapshot},
};

template <Result<Undo> (*perform)(Context&, const Json&), bool drains>
Task<Result<Json>> alone(Context& context, Json arguments) {
  if (drains) co_await context.graph.drain_all_begin();
  Result<Undo> done = perform(context, arguments);
  if (drains) context.graph.drain_all_end();
  if (!done) co_return std::move(done).error();
  co_return Json::object();
}

Result<const Action*> find_action(const std::string& type) {
  const auto known = std::ranges::find(kActions, type, &Action::type);
  if (known != kActions.end()) return &*known;
  return generic(fmt::format("understudy: transaction action '{}' is not in this version", type));
}

// None of the actions here can be part of a group.
Result<> check_properties(const Json& arguments, const std::vector<const Action*>& actions) {
  if (!arguments.contains("properties")) return ok();
  if (arguments["properties"].value("completion-mode", "") != "grouped" || actions.empty())
    return ok();
  return generic(
      fmt::format("Action '{}' does not support Transaction property completion-mode = grouped",
                  actions.front()->type));
}

Task<Result<Json>> transaction(Context& context, Json arguments) {
  std::vector<const Action*> actions;
  for (const Json& action : arguments["actions"]) {
    CO_TRY(const Action* known, find_action(action["type"].get<std::string>()));
    actions.push_back(known);
  }
  CO_TRY_OK(check_properties(arguments, actions));
  co_await context.graph.drain_all_begin();
  std::vector<Undo> undo;
  Result<Json> result = Json::object();
  for (std::size_t i = 0; i < actions.size(); ++i) {
    Result<Undo> done = actions[i]->perform(context, arguments["actions"][i]["data"]);
    if (!done) {
      for (; !undo.empty(); undo.pop_back()) undo.back()();
      result = std::move(done).error();
      break;
    }
    undo.push_back(*std::move(done));
  }
  context.graph.drain_all_end();
  co_return result;
}

constexpr std::array kCommands = {
    Command{"block-dirty-bitmap-add", alone<bitmap_add, false>},
    Command{"block-dirty-bitmap-remove", alone<bitmap_remove, false>},
    Command{"blockdev-snapshot", alone<snapshot, true>},
    Command{"transaction", transaction},
};

}  // namespace

std::span<const Command> transaction_commands() { return kCommands; }

}  // namespace sim::command
