// blockdev-reopen, and x-blockdev-reopen of 5.2.
//
// Source: QAPI's block-core; which options may change, in which order they are looked at, and all
// texts: measured on 5.2 to 11.1 (scenarios/qmp/reopen).

#include "sim/block/reopen.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/base/qdict_text.h"
#include "sim/base/text.h"
#include "sim/command/context.h"
#include "sim/qmp/hash_order.h"

namespace sim::command {

namespace {

using block::NodePtr;

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

// Options that every node may change.
constexpr std::string_view kCommonOptions =
    "read-only|auto-read-only|cache.direct|cache.no-flush|discard|detect-zeroes";
// One that the driver `file` may change, but not give its default.
constexpr std::string_view kNeverReset = "drop-cache";
// Those that a child takes over from the node that it was opened for.
constexpr std::string_view kInherited =
    "read-only|auto-read-only|cache.direct|cache.no-flush|force-share";

std::vector<std::string_view> names_of(const Json& flat) {
  std::vector<std::string_view> names;
  for (auto at = flat.begin(); at != flat.end(); ++at) names.push_back(at.key());
  qmp::sort_as_dictionary(names);
  return names;
}

// A node that is to be reopened.
struct Entry {
  NodePtr node;
  Json options;  // as given, and what of the old ones is kept
  Json set;      // the same in flat form, without what went to children, with what is inherited
  bool keeps = false;
  bool lacks_backing = false;  // does not say what becomes of its backing file
};
using Queue = std::vector<Entry>;

void inherit(Json& set, const Json& parent, bool is_backing) {
  for (const auto& [name, value] : parent.items())
    if (is_listed(kInherited, name) && !set.contains(name) &&
        !(is_backing && name.ends_with("read-only")))
      set[name] = value;
  if (is_backing && !set.contains("read-only")) set["read-only"] = true;
  if (!set.contains("discard")) set["discard"] = "unmap";
}

// As far as they differ from what they are when nobody says anything.
void keep_settings(Json& set, const block::Node& node) {
  for (const auto& [name, value] :
       {std::pair{"read-only", node.read_only}, std::pair{"auto-read-only", node.auto_read_only},
        std::pair{"cache.direct", node.cache_direct},
        std::pair{"cache.no-flush", node.cache_no_flush}})
    if (!set.contains(name)) set[name] = value;
  if (!set.contains("discard")) set["discard"] = node.discard_unmap ? "unmap" : "ignore";
}

void add_children(Queue& queue, const NodePtr& node);

// A node that is there already gets the newer options.
void add(Queue& queue, const NodePtr& node, Json options, const Json* parent, bool is_backing,
         bool keeps) {
  auto at = std::ranges::find(queue, node, &Entry::node);
  if (at == queue.end()) at = queue.insert(queue.end(), Entry{node, {}, {}});
  at->keeps = keeps;
  if (keeps)
    for (const auto& [name, value] : node->options.items())
      if (!options.contains(name)) options[name] = value;
  const bool has_backing = node->backing() != nullptr || !node->header_backing_file().empty();
  at->lacks_backing =
      !keeps && node->supports_backing() && has_backing && !options.contains("backing");
  Json own = options;
  for (const block::EdgePtr& edge : node->children())
    if (block::follows(**edge, *node) && own.contains(edge->name()) &&
        own[edge->name()].is_object())
      own.erase(edge->name());
  at->set = qdict_flatten(own);
  if (parent != nullptr) inherit(at->set, *parent, is_backing);
  if (keeps) keep_settings(at->set, *node);
  at->options = std::move(options);
  add_children(queue, node);
}

void add_children(Queue& queue, const NodePtr& node) {
  for (const block::EdgePtr& edge : node->children()) {
    const Entry& entry = *std::ranges::find(queue, node, &Entry::node);
    if (!block::follows(**edge, *node)) continue;
    const auto given = entry.options.find(edge->name());
    Json options = Json::object();
    bool keeps = entry.keeps;
    if (given != entry.options.end()) {
      if (given->is_object())
        options = *given;
      else if (*given == edge->node()->name())
        keeps = true;
      else
        continue;
    }
    const Json parent = entry.set;
    add(queue, edge->node(), std::move(options), &parent, (edge->roles() & block::kCow) != 0,
        keeps);
  }
}

// --- one node ------------------------------------------------------------------------------------

Result<block::Reopened> read_common(const Entry& entry) {
  block::Reopened wanted(entry.node);
  const Json& set = entry.set;
  wanted.options = entry.options;
  wanted.read_only = set.value("read-only", false);
  wanted.auto_read_only = set.value("auto-read-only", false);
  wanted.cache_direct = set.value("cache.direct", false);
  wanted.cache_no_flush = set.value("cache.no-flush", false);
  if (set.contains("discard")) wanted.discard_unmap = set["discard"] == "unmap";
  const std::string detect = set.value("detect-zeroes", "off");
  wanted.detect_zeroes = detect == "off"  ? block::DetectZeroes::off
                         : detect == "on" ? block::DetectZeroes::on
                                          : block::DetectZeroes::unmap;
  if (detect == "unmap" && !wanted.discard_unmap)
    return generic(
        "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap");
  if (wanted.read_only && entry.node->copy_on_read > 0)
    return generic(
        fmt::format("Can't set node '{}' to r/o with copy-on-read enabled", entry.node->name()));
  return wanted;
}

bool is_child_option(const block::Node& node, std::string_view name) {
  return node.child(name.substr(0, name.find('.'))) != nullptr;
}

// What was given once and is not any more gets its default, if the driver can change it.
Result<> check_resets(const Entry& entry, std::string_view changeable) {
  const Json old = qdict_flatten(entry.node->options);
  for (const std::string_view name : names_of(old)) {
    const std::string_view whole = name.substr(0, name.find('.'));
    if (entry.set.contains(name) || name == "node-name" || is_listed(kCommonOptions, name) ||
        is_listed(changeable, whole) || is_child_option(*entry.node, name) || whole == "backing")
      continue;
    return generic(fmt::format("Option '{}' cannot be reset to its default value", name));
  }
  return ok();
}

bool reaches(const block::Node& from, const block::Node& to) {
  return &from == &to || std::ranges::any_of(from.children(), [&](const block::EdgePtr& edge) {
    return reaches(**edge, to);
  });
}

// Its own texts, in its own order: the circle first.
Result<> check_link_of_5_2(const block::Node& node, const block::Edge* edge, const NodePtr& next) {
  if (next && reaches(*next, node))
    return generic(fmt::format("Making '{}' a backing file of '{}' would create a cycle",
                               next->name(), node.name()));
  if (edge != nullptr && (*edge)->implicit)
    return generic(fmt::format("Cannot change backing link if '{}' has an implicit backing file",
                               node.name()));
  if (edge != nullptr && edge->frozen > 0)
    return generic(fmt::format("Cannot change 'backing' link from '{}' to '{}'", node.name(),
                               (*edge)->name()));
  return ok();
}

Result<> check_link(const block::Node& node, const block::Edge* edge, const NodePtr& next,
                    const std::string& name) {
  if (!node.graph().profile().reopen_is_stable) return check_link_of_5_2(node, edge, next);
  if (edge != nullptr && (*edge)->implicit)
    return generic(fmt::format("Cannot replace implicit {} child of {}", name, node.name()));
  if (edge != nullptr && edge->frozen > 0)
    return generic(fmt::format("Cannot change frozen '{}' link from '{}' to '{}'", name,
                               node.name(), (*edge)->name()));
  if (next && reaches(*next, node))
    return generic(fmt::format("Making '{}' a {} child of '{}' would create a cycle", next->name(),
                               name, node.name()));
  return ok();
}

// The child `name`, if it is given by node name or as null, becomes part of what is wanted.
Result<> read_child(const Entry& entry, const std::string& name, block::Reopened& wanted) {
  const auto given = entry.options.find(name);
  if (given == entry.options.end() || given->is_object()) return ok();
  const block::Edge* edge = entry.node->child_edge(name);
  NodePtr next;
  if (given->is_string()) {
    TRY(next, entry.node->graph().find_device_or_node("", given->get<std::string>()));
  }
  const block::Node* now = edge != nullptr ? edge->node().get() : nullptr;
  while (now != nullptr && now != next.get() && now->implicit) now = now->filtered();
  if (now == next.get()) return ok();
  TRY_OK(check_link(*entry.node, edge, next, name));
  wanted.children.push_back({name, std::move(next)});
  return ok();
}

// What is left must be as it was.
Result<> check_rest(const Entry& entry, std::string_view changeable, bool file_changes) {
  const Json old = qdict_flatten(entry.node->options);
  for (const std::string_view name : names_of(entry.set)) {
    const Json& value = entry.set[name];
    if (is_listed(kCommonOptions, name) || is_listed(changeable, name.substr(0, name.find('.'))) ||
        name == kNeverReset || (name == "backing" && entry.node->supports_backing()) ||
        (name == "file" && file_changes))
      continue;
    const block::Node* child = entry.node->child(name);
    if (child != nullptr && value.is_string() && value == child->name()) continue;
    if (old.contains(name) && old[name] == value) continue;
    return generic(fmt::format("Cannot change the option '{}'", name));
  }
  return ok();
}

Result<block::Reopened> check(const Entry& entry) {
  TRY(block::Reopened wanted, read_common(entry));
  const auto changeable = entry.node->reopen_options();
  if (!changeable)
    return generic(
        fmt::format("Block format '{}' used by node '{}' does not support reopening files",
                    entry.node->driver(), entry.node->name()));
  TRY_OK(check_resets(entry, *changeable));
  TRY_OK(entry.node->check_reopen(entry.options, !wanted.read_only));
  if (entry.lacks_backing)
    return generic(fmt::format("backing is missing for '{}'", entry.node->name()));
  const bool has_file = entry.node->file() != nullptr;
  const bool file_changes = has_file && entry.node->graph().profile().reopen_is_stable;
  if (entry.node->supports_backing()) TRY_OK(read_child(entry, "backing", wanted));
  if (file_changes) TRY_OK(read_child(entry, "file", wanted));
  TRY_OK(check_rest(entry, *changeable, file_changes));
  return wanted;
}

// --- the command ---------------------------------------------------------------------------------

Result<NodePtr> find_named(const Context& context, const Json& options) {
  const bool is_stable = context.profile.reopen_is_stable;
  if (!options.contains("node-name"))
    return generic(is_stable ? "node-name not specified" : "Node name not specified");
  const std::string name = options["node-name"].get<std::string>();
  if (NodePtr found = context.graph.find(name)) return found;
  return generic(is_stable ? fmt::format("Failed to find node with node-name='{}'", name)
                           : fmt::format("Cannot find node named '{}'", name));
}

Task<Result<>> reopen_drained(Context& context, Json all) {
  Queue queue;
  for (const Json& options : all) {
    CO_TRY(const NodePtr node, find_named(context, options));
    add(queue, node, options, nullptr, false, false);
  }
  std::vector<block::Reopened> wanted;
  for (const Entry& entry : queue) {
    CO_TRY(block::Reopened one, check(entry));
    wanted.push_back(std::move(one));
  }
  co_return co_await context.graph.reopen(std::move(wanted));
}

// The drained sections of the command: of each node, and where the release does that, of all that
// is below each of its children.
class Drained {
 public:
  explicit Drained(Context& context) : context_(context) {}

  Task<void> begin(NodePtr node) {
    co_await drain({node, nullptr, {node}});
    co_await begin_below(std::move(node));
  }
  // After the reopening.  A child that it has lost leaves its section, and whom that held goes on,
  // before one that it got comes into its own.
  Task<void> follow(const NodePtr& node) {
    for (auto it = sections_.begin(); it != sections_.end();) {
      const bool left = it->parent == node && it->child && !is_child(*node, it->child);
      if (left) end(*it);
      it = left ? sections_.erase(it) : it + 1;
    }
    co_await begin_below(node);
  }
  void end() {
    for (const Section& section : std::exchange(sections_, {})) end(section);
  }

 private:
  struct Section {
    NodePtr parent;
    NodePtr child;  // null: the section of the parent itself
    std::vector<NodePtr> nodes;
  };

  static bool is_child(const block::Node& node, const NodePtr& child) {
    return std::ranges::any_of(node.children(),
                               [&](const auto& edge) { return edge->node() == child; });
  }
  static void collect(const NodePtr& node, std::vector<NodePtr>& into) {
    into.push_back(node);
    for (const block::EdgePtr& child : node->children()) collect(child->node(), into);
  }
  // Of the children that have none yet.
  Task<void> begin_below(NodePtr node) {
    if (!context_.profile.reopen_drains_below) co_return;
    std::vector<Section> wanted;
    for (const block::EdgePtr& edge : node->children()) {
      const bool has_one = std::ranges::any_of(sections_, [&](const Section& it) {
        return it.parent == node && it.child == edge->node();
      });
      if (has_one) continue;
      wanted.push_back({node, edge->node(), {}});
      collect(edge->node(), wanted.back().nodes);
    }
    for (Section& section : wanted) co_await drain(std::move(section));
  }
  Task<void> drain(Section section) {
    for (const NodePtr& node : section.nodes) co_await context_.graph.drain_begin(node);
    sections_.push_back(std::move(section));
  }
  void end(const Section& section) {
    for (const NodePtr& node : section.nodes) context_.graph.drain_end(*node);
  }

  Context& context_;
  std::vector<Section> sections_;
};

Task<Result<Json>> reopen(Context& context, Json all) {
  std::vector<NodePtr> named;
  for (const Json& options : all)
    if (NodePtr node = context.graph.find(options.value("node-name", ""))) named.push_back(node);
  Drained drained(context);
  for (const NodePtr& node : named) co_await drained.begin(node);
  const Result<> done = co_await reopen_drained(context, std::move(all));
  for (const NodePtr& node : named) co_await drained.follow(node);
  drained.end();
  if (!done) co_return done.error();
  co_return Json::object();
}

Task<Result<Json>> blockdev_reopen(Context& context, Json arguments) {
  if (arguments["options"].empty()) {
    context.crash = "blockdev-reopen of no nodes";
    co_return Json::object();
  }
  co_return co_await reopen(context, std::move(arguments["options"]));
}

Task<Result<Json>> x_blockdev_reopen(Context& context, Json arguments) {
  co_return co_await reopen(context, Json::array({std::move(arguments)}));
}

constexpr std::array kCommands = {
    Command{"blockdev-reopen", blockdev_reopen},
    Command{"x-blockdev-reopen", x_blockdev_reopen},
};

}  // namespace

std::span<const Command> reopen_commands() { return kCommands; }

}  // namespace sim::command
