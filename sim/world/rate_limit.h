// Keeps work to a speed, in slices of 100 ms (QEMU: ratelimit.h): what is begun is let through
// whole, and the slice is stretched by what was too much.

#pragma once

#include <algorithm>
#include <cstdint>

#include "sim/world/world.h"

namespace sim {

class RateLimit {
 public:
  static constexpr Duration kSlice = milliseconds(100);

  std::uint64_t speed() const { return speed_; }  // bytes per second; 0: no limit
  void set_speed(std::uint64_t bytes_per_second) { speed_ = bytes_per_second; }
  // What was sent so far does not count any more.
  void forget() { slice_end_ = {}; }

  // `bytes` more are sent now: how long to wait before the next.  0 bytes: how long as it is.
  Duration delay_after(Instant now, std::uint64_t bytes) {
    if (speed_ == 0) return {};
    const std::uint64_t quota = std::max<std::uint64_t>(speed_ / 10, 1);  // of one slice
    if (slice_end_ < now) {
      slice_start_ = now;
      slice_end_ = now + kSlice;
      sent_ = 0;
    }
    sent_ += bytes;
    if (sent_ < quota) return {};
    const unsigned __int128 ns = static_cast<unsigned __int128>(sent_) * kSlice.ns / quota;
    const std::uint64_t longest = UINT64_MAX / 2;
    slice_end_ = slice_start_ + Duration{ns > longest ? longest : static_cast<std::uint64_t>(ns)};
    return {slice_end_.ns - now.ns};
  }

 private:
  std::uint64_t speed_ = 0;
  Instant slice_start_, slice_end_;
  std::uint64_t sent_ = 0;
};

}  // namespace sim
