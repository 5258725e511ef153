#include "sim/image/layer.h"

#include <algorithm>

namespace sim::image {

std::unique_ptr<Layer> Layer::take_backing() {
  std::unique_ptr<Layer> taken = std::move(backing_);
  set_backing(nullptr);
  return taken;
}

// What is remembered of `offset`, if it is; at most `length`.
bool Layer::recall(std::uint64_t offset, std::uint64_t length, Status& status) const {
  if (offset < known_at_ || offset - known_at_ >= known_.length) return false;
  const std::uint64_t skip = offset - known_at_;
  status = known_;
  status.offset += status.placed ? skip : 0;
  status.length = std::min(status.length - skip, length);
  return true;
}

Task<Result<ChainStatus>> status_above(Layer& top, const Layer* base, std::uint64_t offset,
                                       std::uint64_t length) {
  ChainStatus found{.layer = &top};
  std::uint64_t shortest = length;  // what all layers so far agree on
  for (;;) {
    Layer& layer = *found.layer;
    if (!layer.recall(offset, length, found.status)) {
      CO_TRY(layer.known_, co_await layer.status(offset, length));
      layer.known_at_ = offset;
      found.status = layer.known_;
    }
    shortest = std::min(shortest, found.status.length);
    Layer* below = layer.backing();
    const bool last = below == nullptr || offset >= below->size();
    if (found.status.allocated || last) {
      if (!found.status.allocated) found.status.zero = true;
      break;
    }
    length = std::min(length, below->size() - offset);
    shortest = std::min(shortest, length);
    found.layer = below;
    ++found.depth;
    found.status = {};
    if (below == base) break;
  }
  found.status.length = shortest;
  co_return found;
}

Task<Result<ChainStatus>> status_of_chain(Layer& top, std::uint64_t offset, std::uint64_t length) {
  return status_above(top, nullptr, offset, length);
}

}  // namespace sim::image
