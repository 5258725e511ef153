#include "sim/block/graph.h"

#include <fmt/format.h>

#include <algorithm>

namespace sim::block {

NodePtr Graph::find(const std::string& name) const {
  for (const NodePtr& node : nodes_)
    if (node->name() == name) return node;
  return nullptr;
}

void Graph::add(const NodePtr& node) { nodes_.insert(nodes_.begin(), node); }

void Graph::remove(const Node& node) {
  std::erase_if(nodes_, [&](const NodePtr& known) { return known.get() == &node; });
}

std::string Graph::generate_name() {
  // Three digits, as QEMU's: a running number and a drawn one.
  return fmt::format("#block{}{:02}", generated_++, world_.rng.below(100));
}

static bool is_written_through(const Node& file_node) {
  return std::ranges::any_of(file_node.parents(), [](const Edge* edge) {
    return edge->parent() == nullptr || !edge->parent()->read_only;
  });
}

Result<> check_lock(const Graph& graph, const Node& file_node, bool writable) {
  if (file_node.driver() != "file") return ok();  // whose file it is in the end has its own lock
  for (const NodePtr& other : graph.all()) {
    if (other.get() == &file_node || other->driver() != "file") continue;
    if (other->filename() != file_node.filename() || other->parents().empty()) continue;
    if (writable) return Error{ErrorClass::generic, "Failed to get \"write\" lock", EAGAIN};
    if (is_written_through(*other))
      return Error{ErrorClass::generic, "Failed to get shared \"write\" lock", EAGAIN};
  }
  return ok();
}

Result<> check_writable(const Graph& graph, const Node& node) {
  if (node.driver() != "raw" || node.file() == nullptr || node.file()->driver() != "file")
    return ok();
  return check_lock(graph, *node.file(), true);
}

Result<NodePtr> find_node(const Graph& graph, const std::string& name) {
  if (NodePtr node = graph.find(name)) return node;
  return Error{ErrorClass::generic,
               fmt::format("Cannot find device='{}' nor node-name='{}'", name, name)};
}

}  // namespace sim::block
