#include "sim/block/node.h"

#include <algorithm>

namespace sim::block {

Edge::Edge(NodePtr node, Node* parent, std::string role)
    : node_(std::move(node)), parent_(parent), role_(std::move(role)) {
  node_->parents_.push_back(this);
}

Edge::~Edge() { std::erase(node_->parents_, this); }

void Edge::point_at(NodePtr node) {
  std::erase(node_->parents_, this);
  node_ = std::move(node);
  node_->parents_.push_back(this);
}

Node::Node(World& world, std::string name, std::string driver)
    : world_(world), name_(std::move(name)), driver_(std::move(driver)) {}

Node::~Node() = default;

Node* Node::child(std::string_view role) const {
  for (const EdgePtr& edge : children_)
    if (edge->role() == role) return edge->node().get();
  return nullptr;
}

void Node::attach(std::string role, NodePtr node) {
  CHECK(child(role) == nullptr, "a role has one child");
  children_.push_back(std::make_unique<Edge>(std::move(node), this, std::move(role)));
}

void Node::detach(std::string_view role) {
  std::erase_if(children_, [&](const EdgePtr& edge) { return edge->role() == role; });
}

void Node::set_backing(NodePtr backing) {
  detach("backing");
  if (backing) attach("backing", std::move(backing));
}

std::string Node::filename() const {
  const Node* below = file();
  return below == nullptr ? std::string() : below->filename();
}

void Node::mark_dirty(std::uint64_t offset, std::uint64_t length) {
  for (const auto& bitmap : bitmaps)
    if (bitmap->recording) bitmap->set(offset, length);
}

Task<Result<>> Node::read(std::uint64_t offset, MutableBytes into) {
  CHECK(offset + into.size() <= size());
  world_.record("read", offset, into.size());
  return do_read(offset, into);
}

Task<Result<>> Node::write(std::uint64_t offset, Bytes from) {
  if (read_only) co_return os_error(EPERM);
  world_.record("write", offset, from.size());
  Result<> result = co_await do_write(offset, from);
  mark_dirty(offset, from.size());
  co_return result;
}

Task<Result<>> Node::write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) {
  if (read_only) co_return os_error(EPERM);
  world_.record("write zeroes", offset, length);
  Result<> result = co_await do_write_zeroes(offset, length, unmap && discard_unmap);
  mark_dirty(offset, length);
  co_return result;
}

Task<Result<>> Node::discard(std::uint64_t offset, std::uint64_t length) {
  if (read_only) co_return os_error(EPERM);
  if (!discard_unmap) co_return ok();  // discard=ignore: nothing happens, nothing gets dirty
  world_.record("discard", offset, length);
  Result<> result = co_await do_discard(offset, length);
  mark_dirty(offset, length);
  co_return result;
}

Node* next_layer(const Node& node) {
  Node* next = node.backing();
  while (next != nullptr && next->is_filter()) next = next->backing();
  return next;
}

static Node& skip_filters(Node& node) {
  Node* found = &node;
  while (found->is_filter()) found = found->backing();
  return *found;
}

// Walks down from `top` until a layer has the stretch, or `base` or the end is reached.
static Task<Result<Status>> walk(Node& top, const Node* base, std::uint64_t offset,
                                 std::uint64_t length, bool end_is_zero) {
  Node* layer = &skip_filters(top);
  while (layer != nullptr && layer != base) {
    if (offset >= layer->size()) {  // a short layer ends the search: it reads as zeroes from above
      co_return Status{length, true, true};
    }
    const std::uint64_t inside = std::min(length, layer->size() - offset);
    CO_TRY(const Status own, co_await layer->status(offset, inside));
    if (own.allocated) co_return own;
    length = own.length;
    layer = next_layer(*layer);
  }
  co_return Status{length, false, end_is_zero};
}

Task<Result<Status>> status_of_chain(Node& top, std::uint64_t offset, std::uint64_t length) {
  return walk(top, nullptr, offset, length, true);
}

Task<Result<Status>> status_above(Node& top, const Node* base, std::uint64_t offset,
                                  std::uint64_t length) {
  return walk(top, base, offset, length, false);
}

Task<Result<>> read_padded(Node& node, std::uint64_t offset, MutableBytes into) {
  const std::uint64_t end = node.size();
  const std::uint64_t inside =
      offset >= end ? 0 : std::min<std::uint64_t>(into.size(), end - offset);
  if (inside > 0) CO_TRY_OK(co_await node.read(offset, into.first(inside)));
  std::ranges::fill(into.subspan(inside), std::byte{0});
  co_return ok();
}

void replace_node(const NodePtr& from, const NodePtr& to, const Node* except) {
  const std::vector<Edge*> parents = from->parents();
  for (Edge* edge : parents)
    if (edge->parent() == nullptr || (edge->parent() != except && edge->parent() != to.get()))
      edge->point_at(to);
}

}  // namespace sim::block
