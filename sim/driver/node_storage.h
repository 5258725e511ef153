// The bytes of nodes, as a Storage: their own (Node::storage()), or what they are read and written
// as.

#pragma once

#include <memory>
#include <string>

#include "sim/block/node.h"
#include "sim/storage/storage.h"

namespace sim::driver {

// A format's way to bytes past the node that has them, whose driver says what the node learns of
// it. What lies in place can be looked at there.
class PastNode : public storage::Filter {
 public:
  using Filter::Filter;
  Bytes view(std::uint64_t offset, std::uint64_t length) final {
    return next().view(offset, length);
  }
  bool view_held() const final { return next().view_held(); }
};

// The bytes of that child of `parent`, which outlives it; if they are not the child's own, of what
// is the child at the time of each request.
std::shared_ptr<storage::Storage> storage_through(block::Node& parent, std::string child);

// The same for a node by itself, which it keeps.
std::shared_ptr<storage::Storage> storage_of(const block::NodePtr& node);

}  // namespace sim::driver
