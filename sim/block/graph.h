// All nodes of one machine, by name; and which host files are open for writing.

#pragma once

#include <map>
#include <string>
#include <vector>

#include "sim/block/node.h"
#include "sim/storage/storage.h"

namespace sim::block {

class Graph {
 public:
  Graph(World& world, storage::FileSystem& files) : world_(world), files_(files) {}

  World& world() { return world_; }
  storage::FileSystem& files() { return files_; }

  // The node of that name, or null.
  NodePtr find(const std::string& name) const;
  // Makes a node known.  Newest first in all(), as QEMU lists them.
  void add(const NodePtr& node);
  // Forgets the name; the node lives on as long as somebody points at it.
  void remove(const Node& node);
  // Forgets every node; whoever calls it has closed them.
  void clear() { nodes_.clear(); }
  const std::vector<NodePtr>& all() const { return nodes_; }

  // A name like QEMU's for nodes without one: "#block123".
  std::string generate_name();

 private:
  World& world_;
  storage::FileSystem& files_;
  std::vector<NodePtr> nodes_;
  std::uint64_t generated_ = 0;
};

// QEMU's image locking, within one machine: one writer, or any number of readers, of a host file.
// `users` are the nodes of driver `file`; a parent that writes makes its file node a writer.
Result<> check_lock(const Graph& graph, const Node& file_node, bool writable);

// The same for the file below a raw node that somebody begins to write to; a qcow2 node has had its
// lock since it was opened.
Result<> check_writable(const Graph& graph, const Node& node);

// "Cannot find device='x' nor node-name='x'" (7.2).
Result<NodePtr> find_node(const Graph& graph, const std::string& name);

}  // namespace sim::block
