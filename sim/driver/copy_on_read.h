// The filter through which reading copies up what its node has not itself.
//
// Source: QAPI's BlockdevOptionsCor, QEMU's docs/block-replication.txt; measured on 5.2 to 11.1.

#pragma once

#include "sim/block/filter.h"

namespace sim::driver {

class CopyOnRead : public block::FilterNode {
 public:
  CopyOnRead(block::Graph& graph, std::string name)
      : FilterNode(graph, std::move(name), "copy-on-read") {}

  // Only what this layer, or one between, has is copied: what the layers below it have stays there.
  // Null: everything is.
  std::weak_ptr<block::Node> bottom;
  bool has_bottom = false;

  block::Permission child_permission(const block::Edge& child,
                                     block::Permission above) const override;

 protected:
  Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) override;

 private:
  Task<Result<std::uint64_t>> copy_up_to_bottom(std::uint64_t offset, std::uint64_t length);
};

}  // namespace sim::driver
