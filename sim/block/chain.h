// Backing chains: what is below a node, filters skipped, and what its layers have together.

#pragma once

#include "sim/block/node.h"

namespace sim::block {

// `node`, or what the filters it consists of pass on in the end.
Node& skip_filters(Node& node);

// The backing chain's next layer, filters skipped; null at the end.
Node* next_layer(const Node& node);

// One step down, filters not skipped: the backing file, or what a filter filters; null at the end.
Node* below(const Node& node);

// The node that keeps the internal snapshots of `node`: itself, or what it passes everything on to;
// null if there is none.
Node* snapshot_node(Node& node);
const Node* snapshot_node(const Node& node);

// True if `base` is `top` or below it.
bool chain_contains(const Node& top, const Node& base);

// The node above `base` in the chain of `top`, filters not skipped; null if it is not there.
Node* overlay_of(Node& top, const Node& base);

// The layer below `top` that a file name means (QEMU: bdrv_find_backing_image); null if none.
// Where a layer's backing file is the one that its header leads to, relative names start beside
// that layer, and links are followed; else, and where a protocol is in the name, names must be
// equal.
NodePtr find_backing_image(Node& top, const std::string& name);

// What a stretch is when `top` and everything below it is looked at: `allocated` says that some
// layer decides, `zero` that it reads as zeroes (also because no layer has it).
Task<Result<Status>> status_of_chain(Node& top, std::uint64_t offset, std::uint64_t length);

// Whether some layer from `top` down to, but not including, `base` (null: the whole chain) has the
// stretch.
Task<Result<Status>> status_above(Node& top, const Node* base, std::uint64_t offset,
                                  std::uint64_t length);

// Reads through `node`, with zeroes beyond its end.
Task<Result<>> read_padded(Node& node, std::uint64_t offset, MutableBytes into);

}  // namespace sim::block
