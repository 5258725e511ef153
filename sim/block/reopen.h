// Nodes get other options, and other children, while they run: all of them or none (QEMU:
// bdrv_reopen_multiple).

#pragma once

#include <string>
#include <vector>

#include "sim/block/node.h"

namespace sim::block {

// The child `name` is to be another node; null: there is to be none.
struct NewChild {
  std::string name;
  NodePtr node;
};

// What a node is to be.  After Graph::reopen() has refused, its nodes are what they were.
struct Reopened {
  explicit Reopened(NodePtr of);
  NodePtr node;
  bool read_only, auto_read_only;
  bool cache_direct, cache_no_flush;
  bool discard_unmap;
  DetectZeroes detect_zeroes;
  Json options;  // as given; what of them is the driver's was checked (Node::check_reopen)
  std::vector<NewChild> children;
};

// True if the child was opened by options of `parent`, whose settings it follows.
bool follows(const Node& child, const Node& parent);

}  // namespace sim::block
