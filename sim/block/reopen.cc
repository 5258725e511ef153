#include "sim/block/reopen.h"

#include <ranges>

#include "sim/block/graph.h"

namespace sim::block {

Reopened::Reopened(NodePtr of)
    : node(std::move(of)),
      read_only(node->read_only),
      auto_read_only(node->auto_read_only),
      cache_direct(node->cache_direct),
      cache_no_flush(node->cache_no_flush),
      discard_unmap(node->discard_unmap),
      detect_zeroes(node->detect_zeroes),
      options(node->options) {}

bool follows(const Node& child, const Node& parent) {
  return child.opened_for.lock().get() == &parent;
}

// What is wanted becomes what is, and the other way round.
void Graph::swap(Reopened& wanted) {
  Node& node = *wanted.node;
  std::swap(node.read_only, wanted.read_only);
  std::swap(node.auto_read_only, wanted.auto_read_only);
  std::swap(node.cache_direct, wanted.cache_direct);
  std::swap(node.cache_no_flush, wanted.cache_no_flush);
  std::swap(node.discard_unmap, wanted.discard_unmap);
  std::swap(node.detect_zeroes, wanted.detect_zeroes);
  std::swap(node.options, wanted.options);
  for (NewChild& child : wanted.children) {
    Edge* edge = node.child_edge(child.name);
    NodePtr before = edge != nullptr ? edge->node() : nullptr;
    if (edge == nullptr && child.node) {
      const Roles roles = child.name != "backing" ? kImage : kCow;
      edge = node.children_
                 .insert(node.children_.begin(),
                         std::make_unique<Edge>(&node, nullptr, child.name, roles,
                                                Permission{0, kAllPermissions}))
                 ->get();
    }
    if (edge != nullptr) put(*edge, child.node);
    if (!child.node)
      std::erase_if(node.children_, [&](const EdgePtr& other) { return other.get() == edge; });
    child.node = std::move(before);
  }
}

static void tell_children(const std::vector<Reopened>& nodes) {
  for (const Reopened& reopened : nodes)
    if (!reopened.children.empty()) reopened.node->backing_changed();
}

Task<Result<>> Graph::reopen(std::vector<Reopened> nodes) {
  std::vector<Node*> touched;
  for (Reopened& reopened : nodes) {
    reopened.node->turns_read_only = reopened.read_only && !reopened.node->read_only;
    for (const NewChild& child : reopened.children)
      if (Node* before = reopened.node->child(child.name)) touched.push_back(before);
    swap(reopened);
    touched.push_back(reopened.node.get());
  }
  Result<> done = refresh(touched);
  for (Reopened& reopened : nodes) reopened.node->turns_read_only = false;
  // Children first: their parents read through them.
  std::size_t prepared = 0;
  const auto nth = [&](std::size_t i) -> Reopened& { return nodes[nodes.size() - 1 - i]; };
  for (; done && prepared < nodes.size(); ++prepared) {
    Node& node = *nth(prepared).node;
    done = co_await node.prepare_reopen(node.options, !node.read_only);
  }
  for (std::size_t i = 0; i < prepared; ++i)
    if (done)
      nth(i).node->commit_reopen();
    else
      nth(i).node->abort_reopen();
  if (!done) {
    for (Reopened& reopened : std::views::reverse(nodes)) swap(reopened);
    CHECK(refresh(touched), "what was may be again");
  }
  tell_children(nodes);
  co_return done;
}

Task<Result<>> Graph::set_read_only(NodePtr node, bool read_only) {
  if (node->read_only == read_only) co_return ok();
  std::vector<Reopened> nodes;
  for (NodePtr at = node; at != nullptr;) {
    Reopened& reopened = nodes.emplace_back(at);
    const bool keeps = at != node && at->options.contains("read-only");  // it was told so itself
    if (!keeps) reopened.read_only = read_only;
    const Edge* edge = at->child_edge(at->child("image") != nullptr ? "image" : "file");
    at = edge != nullptr && follows(*edge->node(), *at) ? edge->node() : nullptr;
  }
  co_return co_await reopen(std::move(nodes));
}

}  // namespace sim::block
