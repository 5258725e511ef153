#include "sim/block/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>

#include "sim/base/text.h"
#include "sim/block/backend.h"
#include "sim/block/chain.h"

namespace sim::block {

static Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

// --- names ---------------------------------------------------------------------------------------

NodePtr Graph::find(std::string_view name) const {
  const auto found = names_.find(name);
  return found == names_.end() ? nullptr : found->second->shared_from_this();
}

Backend* Graph::find_backend(std::string_view name) const {
  if (name.empty()) return nullptr;
  for (Backend* backend : backends)
    if (backend->name() == name) return backend;
  return nullptr;
}

Result<NodePtr> Graph::find_device_or_node(const std::string& name) const {
  return find_device_or_node(name, name);
}

Result<NodePtr> Graph::find_device_or_node(const std::string& device,
                                           const std::string& node) const {
  if (const Backend* backend = find_backend(device)) {
    if (backend->node()) return backend->node();
    return generic(fmt::format("Device '{}' has no medium", device));
  }
  if (!node.empty())
    if (NodePtr found = find(node)) return found;
  if (!profile_.lookup_quotes_names)
    return generic(fmt::format("Cannot find device={} nor node_name={}", device, node));
  return generic(fmt::format("Cannot find device='{}' nor node-name='{}'", device, node));
}

Result<std::string> Graph::choose_name(const std::string& wanted) {
  if (wanted.empty()) return generate_name();
  const bool quoted = profile_.bad_node_name_is_quoted;
  if (!is_well_formed_id(wanted))
    return generic(quoted ? fmt::format("Invalid node-name: '{}'", wanted) : "Invalid node name");
  if (find_backend(wanted) != nullptr)
    return generic(fmt::format("node-name={} is conflicting with a device id", wanted));
  if (find(wanted))
    return generic(quoted ? fmt::format("Duplicate nodes with node-name='{}'", wanted)
                          : "Duplicate node name");
  if (wanted.size() > 31) return generic("Node name too long");
  return wanted;
}

std::string Graph::generate_name() {
  // Three digits, as QEMU's: a running number and a drawn one.
  return fmt::format("#block{}{:02}", generated_++, world_.rng.below(100));
}

void Graph::add(const NodePtr& node) {
  nodes_.insert(nodes_.begin(), node);
  names_.emplace(node->name(), node.get());
  if (drained_all_ == 0) return;
  node->begin_quiet();
  drained_.push_back(node);
}

// --- permissions ---------------------------------------------------------------------------------

// What was changed, to be put back when something later is refused.
struct Graph::Undo {
  std::vector<std::pair<Edge*, Permission>> permissions;  // as they were
  std::vector<std::pair<Node*, Permission>> checked;      // as they are to be
};

Error Graph::conflict(const Node& node, const Edge& a, const Edge& b) const {
  const Permissions missing = b.needed() & ~a.shared();
  if (profile_.permission_conflict_names_both) {
    const auto use = [&](const Edge& edge) {
      return fmt::format("{} (uses node '{}' as '{}' child)", edge.describe_owner(), node.name(),
                         edge.name());
    };
    return generic(
        fmt::format("Permission conflict on node '{}': permissions '{}' are both required by {} "
                    "and unshared by {}.",
                    node.name(), words(missing), use(b), use(a)));
  }
  // The one that was there before is named; users stand newest first.
  const auto owner = [](const Edge& edge) {
    return edge.parent() != nullptr ? edge.parent()->name() : edge.user()->describe();
  };
  const auto place = [&](const Edge& edge) { return std::ranges::find(node.parents_, &edge); };
  if (place(a) < place(b))
    return generic(fmt::format("Conflicts with use by {} as '{}', which uses '{}' on {}", owner(b),
                               b.name(), words(missing), node.name()));
  return generic(fmt::format("Conflicts with use by {} as '{}', which does not allow '{}' on {}",
                             owner(a), a.name(), words(missing), node.name()));
}

Result<> Graph::check_users(const Node& node) const {
  std::vector<Edge*> users = node.parents_;
  // 5.2 holds the new one against those that were there; later, all are looked at in turn.
  if (!profile_.permission_conflict_names_both && !users.empty()) {
    const Edge* const newest = users.front();
    for (const Edge* other : users) {
      if (other == newest) continue;
      if ((newest->needed() & ~other->shared()) != 0) return conflict(node, *other, *newest);
      if ((other->needed() & ~newest->shared()) != 0) return conflict(node, *newest, *other);
    }
    std::ranges::reverse(users);
  }
  for (const Edge* a : users)
    for (const Edge* b : users)
      if (a != b && (b->needed() & ~a->shared()) != 0) return conflict(node, *a, *b);
  return ok();
}

static Error writers_on(const Node& node) {
  return generic(
      node.graph().profile().reopen_is_stable
          ? fmt::format("Read-only block node '{}' cannot support read-write users", node.name())
          : "Cannot make block node read-only, there is a writer on it");
}

// One node, whose users' permissions are what they are to be.
Result<> Graph::refresh_node(Node& node, Undo& undo) {
  const Permission above = node.cumulative();
  TRY_OK(check_users(node));
  if ((above.needed & (kWrite | kWriteUnchanged)) != 0 && node.read_only)
    return node.turns_read_only ? writers_on(node) : generic("Block node is read-only");
  TRY_OK(node.check_permission(above));
  undo.checked.emplace_back(&node, above);
  for (const EdgePtr& edge : node.children_) {
    undo.permissions.emplace_back(edge.get(), edge->permission_);
    edge->permission_ = node.child_permission(*edge, above);
  }
  return ok();
}

static void visit(Node& node, std::vector<Node*>& order) {
  if (std::ranges::find(order, &node) != order.end()) return;
  for (const EdgePtr& edge : node.children()) visit(*edge->node(), order);
  order.push_back(&node);
}

Result<> Graph::refresh(const std::vector<Node*>& nodes) {
  std::vector<Node*> order;  // children before parents
  for (Node* node : nodes) visit(*node, order);
  Undo undo;
  for (Node* node : std::views::reverse(order)) {
    if (Result<> done = refresh_node(*node, undo); !done) {
      for (const auto& [edge, before] : std::views::reverse(undo.permissions))
        edge->permission_ = before;
      for (const auto& [checked, above] : std::views::reverse(undo.checked))
        checked->apply_permission(checked->cumulative());
      return done;
    }
  }
  for (const auto& [node, above] : undo.checked) node->apply_permission(above);
  return ok();
}

// --- edges ---------------------------------------------------------------------------------------

static bool reaches(const Node& from, const Node& to) {
  if (&from == &to) return true;
  return std::ranges::any_of(from.children(),
                             [&](const EdgePtr& edge) { return reaches(*edge->node(), to); });
}

// An active node cannot do with one that is not.
static Result<> check_active(const Node& parent, const Node& child, const std::string& name) {
  if (!child.inactive || parent.inactive) return ok();
  return generic(fmt::format("Inactive '{}' can't be a {} child of active '{}'", child.name(), name,
                             parent.name()));
}

Result<> Graph::check_cycle(const Node& parent, const Node& child, const std::string& name) const {
  if (!reaches(child, parent)) return ok();
  return generic(fmt::format("Making '{}' a {} child of '{}' would create a cycle", child.name(),
                             name, parent.name()));
}

// Below an overlay: only what does not change or move the chain is allowed.
static void block_backing(const Node& parent, Node& backing, Reason& reason) {
  reason = std::make_shared<const std::string>(
      fmt::format("node is used as backing hd of '{}'", parent.device_or_node_name()));
  backing.block(Ops::all()
                    .without(Op::commit_target)
                    .without(Op::stream)
                    .without(Op::backup_source)
                    .without(Op::backup_target),
                reason);
}

void Graph::update_backing_blocker(Edge& edge, Node* before) {
  if ((edge.roles_ & kCow) == 0) return;
  if (before != nullptr && edge.blocker_) before->unblock(edge.blocker_);
  edge.blocker_ = nullptr;
  if (edge.node_) block_backing(*edge.parent_, *edge.node_, edge.blocker_);
}

void Graph::put(Edge& edge, const NodePtr& node) {
  const NodePtr before = edge.node_;
  edge.point_at(node);
  update_backing_blocker(edge, before.get());
}

Result<> Graph::attach(Node& parent, const NodePtr& child, const std::string& name, Roles roles) {
  CHECK(parent.child(name) == nullptr, "a name has one child");
  TRY_OK(check_cycle(parent, *child, name));
  TRY_OK(check_active(parent, *child, name));
  parent.children_.insert(
      parent.children_.begin(),
      std::make_unique<Edge>(&parent, nullptr, name, roles, Permission{0, kAllPermissions}));
  Edge& edge = *parent.children_.front();
  put(edge, child);
  Result<> done = refresh({&parent});
  if (done) return done;
  put(edge, nullptr);
  parent.children_.erase(parent.children_.begin());
  return done;
}

void Graph::detach(Node& parent, std::string_view name) {
  Edge* edge = parent.child_edge(name);
  if (edge == nullptr) return;
  const NodePtr child = edge->node();
  put(*edge, nullptr);
  std::erase_if(parent.children_, [&](const EdgePtr& other) { return other.get() == edge; });
  CHECK(refresh({child.get()}), "less needs cannot be refused");
}

Result<> Graph::set_backing(Node& node, const NodePtr& backing) {
  Edge* edge = node.child_edge("backing");
  if (edge != nullptr && edge->frozen > 0)
    return generic(fmt::format("Cannot change '{}' link from '{}' to '{}'", edge->name(),
                               node.name(), edge->node()->name()));
  if (backing && edge != nullptr) {
    TRY_OK(check_cycle(node, *backing, "backing"));
    TRY_OK(move(*edge, backing));
  } else if (backing) {
    TRY_OK(attach(node, backing, "backing", node.is_filter() ? kFiltered | kPrimary : kCow));
  } else {
    detach(node, "backing");
  }
  node.backing_changed();
  return ok();
}

Result<EdgePtr> Graph::attach_user(User& user, const NodePtr& node, const std::string& name,
                                   Permission permission) {
  auto edge = std::make_unique<Edge>(nullptr, &user, name, 0U, permission);
  edge->point_at(node);
  if (Result<> done = refresh({node.get()}); !done) {
    edge->point_at(nullptr);
    return std::move(done).error();
  }
  return edge;
}

void Graph::detach_user(EdgePtr edge) {
  if (!edge) return;
  const NodePtr node = edge->node();
  edge.reset();
  if (node) CHECK(refresh({node.get()}), "less needs cannot be refused");
}

Result<> Graph::set_permission(Edge& edge, Permission permission) {
  const Permission before = std::exchange(edge.permission_, permission);
  Result<> done = refresh({edge.node().get()});
  if (!done) edge.permission_ = before;
  return done;
}

Result<> Graph::move(Edge& edge, const NodePtr& to) {
  const NodePtr from = edge.node();
  put(edge, to);
  std::vector<Node*> changed = {to.get(), from.get()};
  if (edge.parent() != nullptr) changed.insert(changed.begin(), edge.parent());
  Result<> done = refresh(changed);
  if (!done) put(edge, from);
  return done;
}

Result<> Graph::replace(const NodePtr& from, const NodePtr& to) {
  std::vector<Edge*> moved;
  for (Edge* edge : from->parents_) {
    if (edge->user() != nullptr ? edge->user()->stays() : reaches(*to, *edge->parent())) continue;
    if (edge->frozen > 0)
      return generic(fmt::format("Cannot change '{}' link from '{}' to '{}'", edge->name(),
                                 edge->parent() != nullptr ? edge->parent()->name() : "",
                                 from->name()));
    moved.push_back(edge);
  }
  // Oldest first, so that the order among them stays.
  for (Edge* edge : std::views::reverse(moved)) put(*edge, to);
  if (Result<> done = refresh({to.get(), from.get()}); !done) {
    for (Edge* edge : std::views::reverse(moved)) put(*edge, from);
    return done;
  }
  tell_parents(moved);
  return ok();
}

// Drivers look at their backing file through what they were told of.
void Graph::tell_parents(const std::vector<Edge*>& moved) {
  for (Edge* edge : moved)
    if (edge->parent() != nullptr && edge->name() == "backing") edge->parent()->backing_changed();
}

Result<> Graph::insert_above(const NodePtr& filter, const NodePtr& node, const std::string& name,
                             Roles roles) {
  TRY_OK(check_cycle(*filter, *node, name));
  TRY_OK(check_active(*filter, *node, name));
  std::vector<Edge*> moved;
  for (Edge* edge : node->parents_) {
    if (edge->user() != nullptr && edge->user()->stays()) continue;
    if (edge->parent() != nullptr && reaches(*filter, *edge->parent())) continue;  // no circle
    if (edge->frozen > 0)
      return generic(fmt::format("Cannot change '{}' link from '{}' to '{}'", edge->name(),
                                 edge->parent() != nullptr ? edge->parent()->name() : "",
                                 node->name()));
    moved.push_back(edge);
  }
  filter->children_.insert(
      filter->children_.begin(),
      std::make_unique<Edge>(filter.get(), nullptr, name, roles, Permission{0, kAllPermissions}));
  for (Edge* edge : std::views::reverse(moved)) put(*edge, filter);
  put(*filter->children_.front(), node);
  if (Result<> done = refresh({filter.get()}); !done) {
    put(*filter->children_.front(), nullptr);
    for (Edge* edge : std::views::reverse(moved)) put(*edge, node);
    filter->children_.erase(filter->children_.begin());
    return done;
  }
  tell_parents(moved);
  if (name == "backing") filter->backing_changed();
  return ok();
}

Result<> Graph::drop_filter(const NodePtr& filter) {
  Edge* edge = nullptr;
  for (const EdgePtr& child : filter->children_)
    if ((child->roles() & kFiltered) != 0) edge = child.get();
  CHECK(edge != nullptr, "a filter filters something");
  const NodePtr node = edge->node();
  std::vector<Edge*> moved = filter->parents_;
  std::erase_if(
      moved, [](const Edge* above) { return above->user() != nullptr && above->user()->stays(); });
  put(*edge, nullptr);
  for (Edge* above : std::views::reverse(moved)) put(*above, node);
  if (Result<> done = refresh({node.get()}); !done) {
    for (Edge* above : std::views::reverse(moved)) put(*above, filter);
    put(*edge, node);
    return done;
  }
  std::erase_if(filter->children_, [&](const EdgePtr& child) { return child.get() == edge; });
  tell_parents(moved);
  return ok();
}

Result<> Graph::remove_overlay(const NodePtr& overlay, const NodePtr& node) {
  std::vector<Edge*> moved = overlay->parents_;
  detach(*overlay, "backing");
  overlay->backing_changed();
  for (Edge* edge : std::views::reverse(moved)) put(*edge, node);
  tell_parents(moved);
  return refresh({node.get(), overlay.get()});
}

Result<> Graph::freeze_chain(Node& top, const Node* base) {
  for (Node* at = &top; at != nullptr && at != base; at = below(*at)) {
    Edge* edge = at->child_edge(at->is_filter() ? at->filtered_name() : "backing");
    if (edge != nullptr && edge->frozen > 0)
      return generic(fmt::format("Cannot change '{}' link from '{}' to '{}'", edge->name(),
                                 at->name(), edge->node()->name()));
  }
  for (Node* at = &top; at != nullptr && at != base; at = below(*at))
    if (Edge* edge = at->child_edge(at->is_filter() ? at->filtered_name() : "backing"))
      ++edge->frozen;
  return ok();
}

void Graph::thaw_chain(Node& top, const Node* base) {
  for (Node* at = &top; at != nullptr && at != base; at = below(*at))
    if (Edge* edge = at->child_edge(at->is_filter() ? at->filtered_name() : "backing"))
      if (edge->frozen > 0) --edge->frozen;
}

// --- drained sections ----------------------------------------------------------------------------

// Whom the end of another has woken comes first: it goes on before it rests again.
Task<void> Graph::drain_begin(NodePtr node) {
  co_await world_.scheduler.yield();
  node->begin_quiet();
  while (node->is_busy()) co_await world_.scheduler.yield();
}

void Graph::drain_end(Node& node) { node.end_quiet(); }

Task<void> Graph::drain_all_begin() {
  co_await world_.scheduler.yield();
  if (++drained_all_ > 1) co_return;
  drained_ = nodes_;
  for (const NodePtr& node : drained_) node->begin_quiet();
  const auto busy = [this] {
    return std::ranges::any_of(drained_, [](const NodePtr& node) { return node->is_busy(); });
  };
  while (busy()) co_await world_.scheduler.yield();
}

void Graph::drain_all_end() {
  if (--drained_all_ > 0) return;
  for (const NodePtr& node : std::exchange(drained_, {})) node->end_quiet();
}

// --- lifetimes -----------------------------------------------------------------------------------

void Graph::forget(const NodePtr& node) {
  names_.erase(node->name());
  std::erase(nodes_, node);
}

Task<void> Graph::close(NodePtr node) {
  (void)co_await node->flush();
  (void)co_await node->close();  // QEMU does not report a failing close
  forget(node);
  while (!node->children_.empty()) detach(*node, node->children_.front()->name());
}

Task<void> Graph::collect() {
  if (std::exchange(collecting_, true)) {
    collect_again_ = true;
    co_return;
  }
  for (bool found = true; found || std::exchange(collect_again_, false);) {
    found = false;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (!nodes_[i]->parents_.empty() || nodes_[i]->monitor_owned) continue;
      nodes_[i]->closes_late_ = nodes_[i]->in_flight() > 0;
      if (nodes_[i].use_count() > 1) continue;
      co_await close(nodes_[i]);
      found = true;
      break;
    }
  }
  collecting_ = false;
}

void Graph::collect_soon() { world_.scheduler.spawn(collect()); }

void Graph::forget_all() {
  for (const NodePtr& node : nodes_)
    while (!node->children_.empty()) node->children_.pop_back();
  names_.clear();
  nodes_.clear();
}

Task<void> Graph::close_all() {
  for (const NodePtr& node : nodes_) node->monitor_owned = false;
  while (!nodes_.empty()) {
    const auto root = std::ranges::find_if(nodes_, [](const NodePtr& node) {
      return std::ranges::none_of(node->parents_,
                                  [](const Edge* edge) { return edge->parent() != nullptr; });
    });
    co_await close(root == nodes_.end() ? nodes_.front() : *root);
  }
}

}  // namespace sim::block
