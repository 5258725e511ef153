#include "sim/block/successor.h"

namespace sim::block {

void create_successor(Node& node, const std::shared_ptr<DirtyBitmap>& bitmap) {
  CHECK(!bitmap->successor && !bitmap->busy);
  auto successor = std::make_shared<DirtyBitmap>("", bitmap->size(), bitmap->granularity());
  successor->enabled = bitmap->enabled;
  bitmap->enabled = false;
  bitmap->busy = true;
  bitmap->successor = successor;
  node.bitmaps.push_back(std::move(successor));
}

std::shared_ptr<DirtyBitmap> abdicate(Node& node, const std::shared_ptr<DirtyBitmap>& bitmap) {
  const std::shared_ptr<DirtyBitmap> successor = std::move(bitmap->successor);
  CHECK(successor != nullptr);
  successor->rename(bitmap->name());
  successor->persistent = std::exchange(bitmap->persistent, false);
  std::erase(node.bitmaps, bitmap);
  return successor;
}

void reclaim(Node& node, DirtyBitmap& bitmap) {
  const std::shared_ptr<DirtyBitmap> successor = std::move(bitmap.successor);
  CHECK(successor != nullptr);
  bitmap.merge(*successor);
  bitmap.enabled = successor->enabled;
  bitmap.busy = false;
  std::erase(node.bitmaps, successor);
}

}  // namespace sim::block
