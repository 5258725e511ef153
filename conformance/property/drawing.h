// What the properties of block jobs draw alike: sizes, ranges, images' content, what a guest does.

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "conformance/scenario/scenario.h"
#include "sim/base/bytes.h"
#include "sim/world/rng.h"

namespace conformance::property {

using sim::operator""_KiB;

// Everything comes from the seed.
class Drawing {
 public:
  explicit Drawing(std::uint64_t seed) : rng_(seed) {}

 protected:
  bool one_in(std::uint64_t n) { return rng_.below(n) == 0; }
  template <class T, std::size_t n>
  T any_of(const std::array<T, n>& choices) {
    return choices[rng_.below(n)];
  }

  // Bytes; a multiple of 512, at most 4 MiB, mostly small enough to be quick.
  std::uint64_t size() {
    switch (rng_.below(10)) {
      case 0:
        return 512 * (1 + rng_.below(128));  // less than a cluster, or little more
      case 1:
      case 2:
        return 512 * (1 + rng_.below(2048));  // no whole clusters
      case 3:
        return 64_KiB * (1 + rng_.below(64));
      default:
        return 64_KiB * (4 + rng_.below(13));
    }
  }

  std::uint64_t cluster_size() {
    static constexpr std::array kUsual = {4_KiB, 16_KiB, 64_KiB, 64_KiB, 64_KiB};
    if (one_in(3)) return std::uint64_t{512} << rng_.below(13);  // 512 to 2 MiB
    return any_of(kUsual);
  }

  // An offset or a length: on a cluster, a sector, or anywhere.
  std::uint64_t place(std::uint64_t below) {
    static constexpr std::array<std::uint64_t, 6> kUnits = {64_KiB, 64_KiB, 4_KiB, 4_KiB, 512, 1};
    const std::uint64_t unit = any_of(kUnits);
    return sim::align_down(rng_.below(below), unit);
  }

  struct Range {
    std::uint64_t offset;
    std::uint64_t length;
  };
  Range range(std::uint64_t size) {
    if (one_in(12)) return {0, size};
    const std::uint64_t offset = place(size);
    const std::uint64_t most = std::min(size - offset, one_in(2) ? size : 160_KiB);
    return {offset, std::max<std::uint64_t>(1, most - place(most))};
  }

  void fill(Image& image, std::uint8_t pattern) {
    if (image.size == 0) return;
    const std::uint64_t count = rng_.below(5);
    for (std::uint64_t i = 0; i < count; ++i) {
      const Range where = range(image.size);
      const std::uint64_t what = rng_.below(8);
      const Write::Kind kind = what == 0   ? Write::Kind::discard
                               : what <= 2 ? Write::Kind::zero
                                           : Write::Kind::data;
      // Bytes that are zero, written as data, are not what a zero write leaves.
      const bool zeroes = kind == Write::Kind::data && one_in(10);
      image.writes.push_back({kind, where.offset, where.length,
                              kind == Write::Kind::data && !zeroes ? pattern : std::uint8_t{0}});
    }
  }

  // Of a disk of so many bytes.
  GuestStep guest_step(const std::string& disk, std::uint64_t size, std::uint8_t pattern) {
    GuestStep step;
    step.disk = disk;
    const std::uint64_t what = rng_.below(12);
    step.operation = what == 0   ? GuestStep::Operation::flush
                     : what == 1 ? GuestStep::Operation::discard
                     : what <= 4 ? GuestStep::Operation::zero
                                 : GuestStep::Operation::write;
    if (step.operation == GuestStep::Operation::flush) return step;
    const Range where = range(size);
    step.offset = where.offset;
    step.length = where.length;
    if (step.operation == GuestStep::Operation::write && !one_in(10)) step.pattern = pattern;
    return step;
  }

  sim::Rng rng_;
};

}  // namespace conformance::property
