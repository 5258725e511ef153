// While an operation uses a bitmap, an unnamed successor records in its place; at the end one of
// the two is kept.  Source: QEMU's block/dirty-bitmap.c as of 5.2 to 11.1, what query-block shows
// of it.

#pragma once

#include "sim/block/node.h"

namespace sim::block {

// `bitmap`, one of `node`'s, becomes busy and no longer records; its successor does if it did.
void create_successor(Node& node, const std::shared_ptr<DirtyBitmap>& bitmap);

// The successor takes the bitmap's name and place, and is given back.
std::shared_ptr<DirtyBitmap> abdicate(Node& node, const std::shared_ptr<DirtyBitmap>& bitmap);

// The bitmap takes back what its successor recorded.
void reclaim(Node& node, DirtyBitmap& bitmap);

}  // namespace sim::block
