// blockdev-snapshot, blockdev-snapshot-sync, alone or as actions of a transaction.

#include <fmt/format.h>

#include <array>

#include "sim/command/action.h"
#include "sim/command/new_image.h"

namespace sim::command {

namespace {

using Transaction = std::shared_ptr<job::Transaction>;

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

Result<> check_overlay(const block::Node& overlay) {
  for (const block::Edge* edge : overlay.parents())
    if ((edge->needed() & block::kConsistentRead) != 0)
      return generic("The overlay is already in use");
  if (overlay.is_filter()) return generic("Filters cannot be used as overlays");
  if (overlay.backing() != nullptr) return generic("The overlay already has a backing image");
  if (!overlay.supports_backing()) return generic("The overlay does not support backing images");
  return ok();
}

// Puts the overlay above the node.  What is below is not written to any more; if it cannot be
// opened read-only it stays as it is.
Result<Prepared> put_above(Context& context, const block::NodePtr& node,
                           const block::NodePtr& overlay) {
  TRY_OK(check_overlay(*overlay));
  TRY_OK(context.graph.insert_above(overlay, node, "backing", block::kCow));
  return Prepared{.commit = [&context, node]() -> Task<void> {
                    (void)co_await context.graph.set_read_only(node, true);
                  },
                  .abort =
                      [&context, node, overlay] {
                        CHECK(context.graph.remove_overlay(overlay, node), "what was may be again");
                      }};
}

// The node is in a drained section from when it is known until all is decided.
Task<Result<Prepared>> drained(Context& context, block::NodePtr node,
                               Task<Result<Prepared>> prepare) {
  co_await begin_drained(context, node);
  auto prepared = co_await std::move(prepare);
  if (prepared)
    prepared->clean = [&context, node] { context.graph.drain_end(*node); };
  else
    context.graph.drain_end(*node);
  co_return prepared;
}

Task<Result<Prepared>> prepare_snapshot(Context& context, block::NodePtr node, Json arguments) {
  CO_TRY_OK(node->check_allowed(block::Op::external_snapshot));
  CO_TRY(const block::NodePtr overlay,
         node_or_device(context, arguments["overlay"].get<std::string>()));
  if (node == overlay && context.profile.snapshot_onto_itself_crashes)
    context.crash = "blockdev-snapshot of a node onto itself";
  co_return put_above(context, node, overlay);
}

Task<Result<Prepared>> snapshot(Context& context, Json arguments, Transaction) {
  CO_TRY(const block::NodePtr node, node_or_device(context, arguments["node"].get<std::string>()));
  co_return co_await drained(context, node, prepare_snapshot(context, node, std::move(arguments)));
}

Task<Result<Prepared>> prepare_new(Context& context, block::NodePtr node, Json arguments) {
  const std::string node_name = arguments.value("node-name", "");
  const std::string new_name = arguments.value("snapshot-node-name", "");
  CO_TRY_OK(node->check_allowed(block::Op::external_snapshot));
  const std::string format = arguments.value("format", "qcow2");
  const bool hyphen = context.profile.overlay_node_name_has_hyphen;
  const bool is_named = arguments.contains("snapshot-node-name");
  if (!node_name.empty() && !is_named)
    co_return generic(hyphen ? "New overlay node-name missing" : "New overlay node name missing");
  if (!new_name.empty() && context.graph.find(new_name))
    co_return generic(hyphen ? "New overlay node-name already in use"
                             : "New overlay node name already in use");
  const std::string file = arguments["snapshot-file"].get<std::string>();
  if (arguments.value("mode", "absolute-paths") != "existing") {
    const block::Node& below = explicit_node(*node);
    CO_TRY_OK(co_await create_image(
        context, {file, format, node->size(), below.filename(), below.driver()}));
  }
  CO_TRY(const block::NodePtr overlay,
         co_await open_image(context, file, format,
                             {.node_name = is_named ? std::optional(new_name) : std::nullopt,
                              .unmap = node->discard_unmap,
                              .read_only = node->read_only,
                              .cache_direct = node->cache_direct,
                              .cache_no_flush = node->cache_no_flush}));
  co_return put_above(context, node, overlay);
}

Task<Result<Prepared>> snapshot_sync(Context& context, Json arguments, Transaction) {
  CO_TRY(const block::NodePtr node,
         context.graph.find_device_or_node(arguments.value("device", ""),
                                           arguments.value("node-name", "")));
  co_return co_await drained(context, node, prepare_new(context, node, std::move(arguments)));
}

Task<Result<Prepared>> refuse(Context&, Json, Transaction) {
  co_return generic("Transaction aborted using Abort action");
}

constexpr Action kAbort{"abort", refuse, true};
constexpr Action kSnapshot{"blockdev-snapshot", snapshot, false, true};
constexpr Action kSnapshotSync{"blockdev-snapshot-sync", snapshot_sync, false, true};
constexpr std::array kActions = {kAbort, kSnapshot, kSnapshotSync};

constexpr std::array kCommands = {
    Command{kSnapshot.type, alone<kSnapshot>},
    Command{kSnapshotSync.type, alone<kSnapshotSync>},
};

}  // namespace

std::span<const Action> snapshot_actions() { return kActions; }
std::span<const Command> snapshot_commands() { return kCommands; }

}  // namespace sim::command
