// How a mirror goes through its dirty bitmap.
//
// Source: measured on QEMU 7.2 (scenarios/qmp/jobs/drained): what a guest dirties ahead of the
// mirror waits for the next pass if the mirror has looked at its 64 granules already.

#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/block/bitmap.h"

namespace sim::job {

// Looks at words of 64 granules: at each when it comes to it, and at which have a dirty granule
// when it starts.  What is clean by then is passed over.
class DirtyWalk {
 public:
  explicit DirtyWalk(const block::DirtyBitmap& bitmap) : bitmap_(bitmap) { start(0); }

  // Starts anew at that offset, a multiple of the granularity.
  void start(std::uint64_t offset) {
    const std::uint64_t granule = offset / bitmap_.granularity();
    word_ = granule / kBits;
    seen_ = load(word_) & (~std::uint64_t{0} << (granule % kBits));
    const std::uint64_t span = kBits * bitmap_.granularity();
    words_.assign(div_up(bitmap_.size(), span), false);
    for (auto found = bitmap_.next_dirty((word_ + 1) * span); found;
         found = bitmap_.next_dirty((*found / span + 1) * span))
      words_[*found / span] = true;
  }

  // Offset of the next dirty granule; nothing at the end of the pass.
  std::optional<std::uint64_t> next() {
    for (;;) {
      while (seen_ != 0) {
        const auto bit = static_cast<unsigned>(std::countr_zero(seen_));
        seen_ &= seen_ - 1;
        const std::uint64_t offset = (word_ * kBits + bit) * bitmap_.granularity();
        if (bitmap_.is_dirty(offset)) return offset;
      }
      do ++word_;
      while (word_ < words_.size() && !words_[word_]);
      if (word_ >= words_.size()) return std::nullopt;
      seen_ = load(word_);
    }
  }

  // `offset`, which is dirty, is the next one, whether it was to be seen or not.
  void pass(std::uint64_t offset) {
    if (next() == offset) return;
    start(offset);
    (void)next();
  }

 private:
  static constexpr std::uint64_t kBits = 64;

  std::uint64_t load(std::uint64_t word) const {
    std::uint64_t bits = 0;
    for (std::uint64_t i = 0; i < kBits; ++i) {
      const std::uint64_t offset = (word * kBits + i) * bitmap_.granularity();
      if (offset >= bitmap_.size()) break;
      if (bitmap_.is_dirty(offset)) bits |= std::uint64_t{1} << i;
    }
    return bits;
  }

  const block::DirtyBitmap& bitmap_;
  std::uint64_t word_ = 0;
  std::uint64_t seen_ = 0;   // of the word, not passed yet
  std::vector<bool> words_;  // that had a dirty granule
};

}  // namespace sim::job
