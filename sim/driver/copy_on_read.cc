#include "sim/driver/copy_on_read.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/block/chain.h"
#include "sim/driver/open.h"

namespace sim::driver {

block::Permission CopyOnRead::child_permission(const block::Edge& child,
                                               block::Permission above) const {
  block::Permission result = FilterNode::child_permission(child, above);
  if (!inactive) result.needed |= block::kWriteUnchanged;
  return result;
}

// Returns how much of the range is then read.  Where the layer below the filtered one ends, QEMU
// ends the request, and the rest of the reader's buffer stays what it was (measured on 7.2 to 11.1;
// scenarios/bugs/pull-reads-nothing-beyond-backing).
Task<Result<std::uint64_t>> CopyOnRead::copy_up_to_bottom(std::uint64_t offset,
                                                          std::uint64_t length) {
  const std::uint64_t start = offset;
  block::Node& node = block::skip_filters(*filtered());
  const block::NodePtr lowest = bottom.lock();
  // With nothing between QEMU misses the bottom: it copies what any layer below has, and crashes
  // where none has anything (measured on 7.2 to 11.1; scenarios/qmp/jobs/pending-stream-read).
  const bool misses_bottom = lowest.get() == &node;
  const block::Node* beyond = lowest && !misses_bottom ? block::next_layer(*lowest) : nullptr;
  for (const std::uint64_t end = offset + length; offset < end;) {
    CO_TRY(const block::Status own, co_await filtered()->status(offset, end - offset));
    std::uint64_t n = own.length;
    block::Node* next = block::next_layer(node);
    bool found = false;
    if (!own.allocated && next != nullptr && offset >= next->size()) co_return offset - start;
    if (!own.allocated && next != nullptr && next != beyond) {
      CO_TRY(const block::Status below, co_await block::status_above(*next, beyond, offset, n));
      n = below.length;
      found = below.allocated;
      if (found) CO_TRY_OK(co_await node.copy_up(offset, n));
    }
    if (misses_bottom && !own.allocated && !found)
      graph().crash = "a read through a stream's filter with nothing between it and its base";
    offset += n;
  }
  co_return length;
}

Task<Result<>> CopyOnRead::do_read(std::uint64_t offset, MutableBytes into) {
  if (!has_bottom) {
    CO_TRY_OK(co_await filtered()->copy_up(offset, into.size()));
    co_return co_await FilterNode::do_read(offset, into);
  }
  CO_TRY(const std::uint64_t length, co_await copy_up_to_bottom(offset, into.size()));
  co_return co_await FilterNode::do_read(offset, into.first(length));
}

Task<Result<block::NodePtr>> open_copy_on_read(block::Graph& graph, Common common, Json options) {
  CO_TRY(const block::NodePtr file,
         co_await open_child(graph, options["file"], common.for_children));
  CO_TRY_OK(settle(graph, common));
  auto node = std::make_shared<CopyOnRead>(graph, std::move(common.name));
  node->read_only = common.read_only;
  node->inactive = common.inactive;
  CO_TRY_OK(graph.attach(*node, file, "file", block::kFiltered | block::kPrimary));
  if (!graph.profile().sizes_follow_children) node->keep_size();
  if (options.contains("bottom")) {
    const std::string& name = options["bottom"].get_ref<const std::string&>();
    const block::NodePtr bottom = graph.find(name);
    if (!bottom || bottom->is_filter()) {
      graph.detach(*node, "file");
      co_return Error{ErrorClass::generic, fmt::format("Bottom node '{}' {}", name,
                                                       bottom ? "is a filter" : "not found")};
    }
    node->bottom = bottom;
    node->has_bottom = true;
  }
  co_return node;
}

}  // namespace sim::driver
