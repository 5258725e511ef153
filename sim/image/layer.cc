#include "sim/image/layer.h"

#include <algorithm>

namespace sim::image {

const std::shared_ptr<storage::Storage>& Layer::data_file() const {
  static const std::shared_ptr<storage::Storage> kNone;
  return kNone;
}

std::unique_ptr<Layer> Layer::take_backing() {
  std::unique_ptr<Layer> taken = std::move(backing_);
  set_backing(nullptr);
  return taken;
}

Task<Result<Status>> status_of_layer(Layer& layer, std::uint64_t offset, std::uint64_t length) {
  if (offset < layer.known_at_ || offset - layer.known_at_ >= layer.known_.length) {
    CO_TRY(layer.known_, co_await layer.status(offset, length));
    layer.known_at_ = offset;
  }
  Status status = layer.known_;
  const std::uint64_t skip = offset - layer.known_at_;
  status.offset += status.placed ? skip : 0;
  status.length = std::min(status.length - skip, length);
  co_return status;
}

Task<Result<ChainStatus>> status_above(Layer& top, const Layer* base, std::uint64_t offset,
                                       std::uint64_t length) {
  ChainStatus found{.status = {.length = length}, .layer = &top};
  for (;;) {
    Layer& layer = *found.layer;
    CO_TRY(const Status status, co_await status_of_layer(layer, offset, length));
    found.status.length = std::min(found.status.length, status.length);
    if (status.allocated) {
      const std::uint64_t shortest = found.status.length;
      found.status = status;
      found.status.length = shortest;
      co_return found;
    }
    Layer* below = layer.backing();
    if (below == nullptr || offset >= below->size()) {
      found.status.zero = true;
      co_return found;
    }
    length = std::min(length, below->size() - offset);
    found.status.length = std::min(found.status.length, length);
    found.layer = below;
    ++found.depth;
    if (below == base) co_return found;
  }
}

Task<Result<ChainStatus>> status_of_chain(Layer& top, std::uint64_t offset, std::uint64_t length) {
  return status_above(top, nullptr, offset, length);
}

}  // namespace sim::image
