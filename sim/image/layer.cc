#include "sim/image/layer.h"

#include <algorithm>

namespace sim::image {

std::unique_ptr<Layer> Layer::take_backing() {
  std::unique_ptr<Layer> taken = std::move(backing_);
  set_backing(nullptr);
  return taken;
}

Task<Result<>> Layer::statuses(std::uint64_t offset, std::uint64_t length, std::size_t /*most*/,
                               std::vector<Status>& into) {
  CO_TRY(const Status found, co_await status(offset, length));
  into.push_back(found);
  co_return ok();
}

Task<Result<>> work_and_close(Layer& layer, Task<Result<>> work) {
  auto done = co_await std::move(work);
  auto closed = co_await layer.close();
  if (!done) co_return done;
  co_return closed;
}

void Layer::forget() {
  known_.clear();
  ahead_ = 1;
}

bool Layer::recall(std::uint64_t offset, std::uint64_t length, Status& status) {
  if (offset < known_at_ || known_.empty()) return false;
  while (offset - known_at_ >= known_[known_index_].length) {
    if (known_index_ + 1 == known_.size()) return false;
    known_at_ += known_[known_index_++].length;
  }
  const std::uint64_t skip = offset - known_at_;
  status = known_[known_index_];
  status.offset += status.placed ? skip : 0;
  status.length = std::min(status.length - skip, length);
  return true;
}

Task<Result<>> Layer::learn(std::uint64_t offset, std::uint64_t length) {
  constexpr std::size_t kAheadMax = 1024;
  const bool goes_on = !known_.empty() && known_index_ + 1 == known_.size() &&
                       offset - known_at_ == known_.back().length;
  ahead_ = goes_on ? std::min(2 * ahead_, kAheadMax) : 1;
  known_.clear();
  known_index_ = 0;
  known_at_ = offset;
  return statuses(offset, length, ahead_, known_);
}

// A way down a chain, as far as the layers remember what they are.
class ChainWalk {
 public:
  ChainWalk(Layer& top, const Layer* base, std::uint64_t offset, std::uint64_t length)
      : offset_(offset), length_(length) {
    found_.layer = &top;
    std::uint64_t shortest = length;  // what all layers so far agree on
    for (;;) {
      Layer& layer = *found_.layer;
      if (!layer.recall(offset, length_, found_.status)) {
        ignorant_ = &layer;
        return;
      }
      shortest = std::min(shortest, found_.status.length);
      Layer* below = layer.backing();
      const bool last = below == nullptr || offset >= below->size();
      if (found_.status.allocated || last) {
        if (!found_.status.allocated) found_.status.zero = true;
        break;
      }
      length_ = std::min(length_, below->size() - offset);
      shortest = std::min(shortest, length_);
      found_.layer = below;
      ++found_.depth;
      found_.status = {};
      if (below == base) break;
    }
    found_.status.length = shortest;
  }
  bool done() const { return ignorant_ == nullptr; }
  const ChainStatus& found() const { return found_; }
  // Lets the layer that does not know find out.
  Task<Result<>> learn() { return ignorant_->learn(offset_, length_); }

 private:
  std::uint64_t offset_, length_;
  ChainStatus found_;
  Layer* ignorant_ = nullptr;
};

std::optional<ChainStatus> known_status_above(Layer& top, const Layer* base, std::uint64_t offset,
                                              std::uint64_t length) {
  const ChainWalk walk(top, base, offset, length);
  if (!walk.done()) return std::nullopt;
  return walk.found();
}

Task<Result<ChainStatus>> status_above(Layer& top, const Layer* base, std::uint64_t offset,
                                       std::uint64_t length) {
  for (;;) {
    ChainWalk walk(top, base, offset, length);
    if (walk.done()) co_return walk.found();
    CO_TRY_OK(co_await walk.learn());
  }
}

Task<Result<ChainStatus>> status_of_chain(Layer& top, std::uint64_t offset, std::uint64_t length) {
  return status_above(top, nullptr, offset, length);
}

}  // namespace sim::image
