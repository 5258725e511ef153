#include "sim/block/bitmap.h"

#include <fmt/format.h>

#include <algorithm>

namespace sim::block {

void DirtyBitmap::assign(std::uint64_t offset, std::uint64_t length, bool dirty) {
  if (length == 0 || offset >= size_) return;
  const std::uint64_t last = std::min(offset + length, size_) - 1;
  for (std::uint64_t i = offset / granularity_; i <= last / granularity_; ++i) {
    if (dirty_[i] == dirty) continue;
    dirty_[i] = dirty;
    dirty_granules_ += dirty ? 1 : -1;
  }
}

std::optional<std::uint64_t> DirtyBitmap::next_dirty(std::uint64_t from) const {
  if (dirty_granules_ == 0) return std::nullopt;
  for (std::uint64_t i = from / granularity_; i < dirty_.size(); ++i)
    if (dirty_[i]) return i * granularity_;
  return std::nullopt;
}

std::optional<std::uint64_t> DirtyBitmap::next_clean(std::uint64_t from) const {
  for (std::uint64_t i = from / granularity_; i < dirty_.size(); ++i)
    if (!dirty_[i]) return i * granularity_;
  return std::nullopt;
}

std::uint64_t DirtyBitmap::count() const {
  if (dirty_granules_ == 0) return 0;
  std::uint64_t bytes = dirty_granules_ * granularity_;
  const std::uint64_t tail = size_ % granularity_;
  if (tail != 0 && dirty_.back()) bytes -= granularity_ - tail;
  return bytes;
}

void DirtyBitmap::merge(const DirtyBitmap& other) {
  for (auto at = other.next_dirty(0); at; at = other.next_dirty(*at + other.granularity_))
    set(*at, other.granularity_);
}

void DirtyBitmap::resize(std::uint64_t size) {
  size_ = size;
  dirty_.resize(div_up(size, granularity_));
  dirty_granules_ = static_cast<std::uint64_t>(std::ranges::count(dirty_, true));
}

Result<> DirtyBitmap::check(Check what) const {
  if (busy)
    return Error{ErrorClass::generic,
                 fmt::format("Bitmap '{}' is currently in use by another operation and cannot be "
                             "used",
                             name_)};
  if ((what == Check::changeable || what == Check::writable) && read_only)
    return Error{ErrorClass::generic,
                 fmt::format("Bitmap '{}' is readonly and cannot be modified", name_)};
  if (what != Check::present && what != Check::writable && inconsistent)
    return Error{ErrorClass::generic,
                 fmt::format("Bitmap '{}' is inconsistent and cannot be used", name_)};
  return ok();
}

}  // namespace sim::block
