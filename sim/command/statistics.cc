// What block devices and nodes have done: query-blockstats, histograms, write thresholds.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ranges>

#include "sim/block/chain.h"
#include "sim/command/context.h"

namespace sim::command {

namespace {

using Accounting = block::Accounting;

struct NamedKind {
  std::string_view prefix;  // "rd_bytes"
  Accounting::Kind Accounting::* kind;
  bool has_bytes;
};
constexpr std::array kKinds = {
    NamedKind{"rd", &Accounting::read, true},
    NamedKind{"wr", &Accounting::write, true},
    NamedKind{"zone_append", &Accounting::zone_append, true},
    NamedKind{"flush", &Accounting::flush, false},
    NamedKind{"unmap", &Accounting::unmap, true},
};

// QAPI: BlockDeviceStats.
Json describe_accounting(const Context& context, const Accounting& counted,
                         std::uint64_t highest_write) {
  Json stats = {{"wr_highest_offset", highest_write},
                {"account_failed", counted.counts_failed},
                {"account_invalid", counted.counts_invalid},
                {"timed_stats", Json::array()}};
  if (counted.last_request)
    stats["idle_time_ns"] = context.world.scheduler.now().ns - counted.last_request->ns;
  for (const NamedKind& named : kKinds) {
    if (named.prefix == "zone_append" && !context.profile.has_zone_append) continue;
    const Accounting::Kind& kind = counted.*named.kind;
    const auto set = [&](std::string_view pattern, std::uint64_t value) {
      stats[fmt::format(fmt::runtime(pattern), named.prefix)] = value;
    };
    set("{}_operations", kind.done);
    set("{}_total_time_ns", kind.nanoseconds);
    set("failed_{}_operations", kind.failed);
    set("invalid_{}_operations", kind.invalid);
    if (named.has_bytes) {
      set("{}_bytes", kind.bytes);
      set("{}_merged", kind.merged);
    }
    if (kind.histogram)
      stats[fmt::format("{}_latency_histogram", named.prefix)] = {
          {"boundaries", kind.histogram->boundaries}, {"bins", kind.histogram->bins}};
  }
  return stats;
}

// The child that has the node's data: what is shown as its `parent`.
const block::Node* data_child(const block::Node& node) {
  for (const block::EdgePtr& child : node.children())
    if ((child->roles() & block::kPrimary) != 0 || child->name() == "file")
      return child->node().get();
  return nullptr;
}

// QAPI: BlockStats, of a node; with what it overlays as `backing`.
Json describe_node(const Context& context, const block::Node& node, bool with_backing) {
  Accounting nothing;
  nothing.counts_failed = nothing.counts_invalid = false;
  Json stats = {{"node-name", node.name()},
                {"stats", describe_accounting(context, nothing, node.highest_write())}};
  if (Json own = node.describe_statistics(); !own.is_null())
    stats["driver-specific"] = std::move(own);
  if (const block::Node* child = data_child(node))
    stats["parent"] = describe_node(context, *child, with_backing);
  if (const block::Node* below = block::below(node); with_backing && below != nullptr)
    stats["backing"] = describe_node(context, *below, true);
  return stats;
}

Json describe_backend(const Context& context, const block::Backend& backend) {
  Json stats = Json::object();
  const block::Node* node = shown_node(backend);
  if (node != nullptr) stats = describe_node(context, *node, true);
  stats["device"] = backend.name();
  if (backend.device != nullptr) stats["qdev"] = backend.device->label();
  stats["stats"] =
      describe_accounting(context, backend.accounting, node != nullptr ? node->highest_write() : 0);
  return stats;
}

Task<Result<Json>> query_blockstats(Context& context, Json arguments) {
  Json list = Json::array();
  if (arguments.value("query-nodes", false)) {
    for (const block::NodePtr& node : std::views::reverse(context.graph.all()))
      list.push_back(describe_node(context, *node, false));
  } else {
    for (const block::Backend* backend : context.graph.backends)
      if (!backend->name().empty() || backend->device != nullptr)
        list.push_back(describe_backend(context, *backend));
  }
  co_return list;
}

// --- histograms ----------------------------------------------------------------------------------

struct HistogramOf {
  const char* argument;  // boundaries of these alone
  std::string_view word;
  Accounting::Kind Accounting::* kind;
};
constexpr std::array kHistograms = {
    HistogramOf{"boundaries-read", "read", &Accounting::read},
    HistogramOf{"boundaries-write", "write", &Accounting::write},
    HistogramOf{"boundaries-zap", "append write", &Accounting::zone_append},
    HistogramOf{"boundaries-flush", "flush", &Accounting::flush},
};

// They rise, from above zero.
bool are_boundaries(const Context& context, const std::vector<std::uint64_t>& boundaries) {
  if (boundaries.empty()) return context.profile.histogram_may_be_empty;
  return boundaries.front() != 0 &&
         std::ranges::adjacent_find(boundaries, std::greater_equal()) == boundaries.end();
}

Task<Result<Json>> set_histograms(Context& context, Json arguments) {
  const std::string id = arguments["id"];
  CO_TRY(block::Backend * backend, backend_of_device(context, id));
  bool any = false;
  for (const HistogramOf& it : kHistograms) {
    if (it.kind == &Accounting::zone_append && !context.profile.has_zone_append) continue;
    const bool own = arguments.contains(it.argument);
    if (!own && !arguments.contains("boundaries")) continue;
    any = any || it.kind != &Accounting::zone_append || arguments.contains("boundaries");
    if (!any) continue;  // boundaries-zap alone is nothing (10.0 and 11.1)
    const auto boundaries =
        arguments[own ? it.argument : "boundaries"].get<std::vector<std::uint64_t>>();
    if (!are_boundaries(context, boundaries))
      co_return Error{ErrorClass::generic,
                      fmt::format("Device '{}' set {} boundaries fail", id, it.word)};
    (backend->accounting.*it.kind).histogram = {
        .boundaries = boundaries, .bins = std::vector<std::uint64_t>(boundaries.size() + 1)};
  }
  if (!any)
    for (const HistogramOf& it : kHistograms) (backend->accounting.*it.kind).histogram.reset();
  co_return Json::object();
}

// --- thresholds ----------------------------------------------------------------------------------

Task<Result<Json>> set_write_threshold(Context& context, Json arguments) {
  const std::string name = arguments["node-name"];
  const block::NodePtr node = context.graph.find(name);
  if (!node) co_return Error{ErrorClass::generic, fmt::format("Device '{}' not found", name)};
  node->write_threshold = arguments["write-threshold"].get<std::uint64_t>();
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{"block-latency-histogram-set", set_histograms},
    Command{"block-set-write-threshold", set_write_threshold},
    Command{"query-blockstats", query_blockstats},
};

}  // namespace

std::span<const Command> statistics_commands() { return kCommands; }

}  // namespace sim::command
