// Drawing a block copy.  Everything comes from the Random that RapidCheck hands in.

#include <rapidcheck.h>

#include <algorithm>
#include <array>

#include "conformance/property/block_copy_case.h"
#include "sim/base/bytes.h"
#include "sim/world/rng.h"

namespace conformance::property {

namespace {

using sim::operator""_KiB;
using Kind = Write::Kind;

class Drawing {
 public:
  explicit Drawing(std::uint64_t seed) : rng_(seed) {}

  BlockCopyCase draw() {
    draw_chain();
    draw_call();
    draw_destination();
    draw_course();
    repair(drawn_);
    return std::move(drawn_);
  }

 private:
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
      const Kind kind = what == 0 ? Kind::discard : what <= 2 ? Kind::zero : Kind::data;
      // Bytes that are zero, written as data, are not what a zero write leaves.
      const bool zeroes = kind == Kind::data && one_in(10);
      image.writes.push_back(
          {kind, where.offset, where.length, kind == Kind::data && !zeroes ? pattern : Zero});
    }
  }
  static constexpr std::uint8_t Zero = 0;

  void draw_chain() {
    const std::uint64_t depth = 1 + rng_.below(4);
    std::uint64_t common = size();
    for (std::uint64_t i = 0; i < depth; ++i) {
      Image image;
      image.name = image.file = "layer" + std::to_string(i);
      const bool raw = i == 0 && one_in(3);
      image.format = raw ? Image::Format::raw : Image::Format::qcow2;
      image.size = one_in(3) ? size() : common;
      if (!raw) image.cluster_size = cluster_size();
      if (i > 0) image.backing = drawn_.images.back().name;
      fill(image, static_cast<std::uint8_t>(i + 1));
      drawn_.images.push_back(std::move(image));
    }
    drawn_.active = drawn_.images.back().name;
  }

  void draw_call() {
    for (const char* flag : {"shallow", "reuse-ext"})
      if (one_in(2)) drawn_.flags.emplace_back(flag);
    if (one_in(4)) drawn_.flags.emplace_back("copy-raw");
    drawn_.held = one_in(2);
  }

  void draw_destination() {
    drawn_.destination = "copy";
    const bool reuse = std::ranges::count(drawn_.flags, "reuse-ext") != 0;
    // Mostly what will be accepted.
    if (reuse ? one_in(25) : !one_in(12)) return;
    if (one_in(25)) {  // a file that is in use, perhaps the disk's own
      drawn_.destination = drawn_.images[rng_.below(drawn_.images.size())].name;
      return;
    }
    const std::uint64_t disk_size = drawn_.images.back().size;
    Image copy;
    copy.name = copy.file = "copy";
    copy.format = one_in(3) ? Image::Format::raw : Image::Format::qcow2;
    copy.size = disk_size;
    if (one_in(8)) copy.size = size();
    if (copy.format == Image::Format::raw && one_in(20)) copy.size = 0;
    if (copy.format == Image::Format::qcow2) {
      copy.cluster_size = cluster_size();
      draw_backing(copy);
    }
    if (!one_in(3)) fill(copy, 8);
    drawn_.images.push_back(std::move(copy));
  }

  void draw_backing(Image& copy) {
    const std::string below = drawn_.images.back().backing;
    switch (rng_.below(8)) {
      case 0:
      case 1:
        break;
      case 2: {  // has nothing to do with the disk
        Image other;
        other.name = other.file = "other";
        if (one_in(3)) other.format = Image::Format::raw;
        other.size = one_in(2) ? size() : drawn_.images.back().size;
        fill(other, 7);
        copy.backing = other.name;
        drawn_.images.push_back(std::move(other));
        break;
      }
      case 3:  // some layer, perhaps the active one
        copy.backing = drawn_.images[rng_.below(drawn_.images.size())].name;
        break;
      default:
        copy.backing = below;
    }
  }

  GuestStep guest_step(std::uint8_t pattern) {
    GuestStep step;
    step.disk = "vda";
    const std::uint64_t what = rng_.below(12);
    step.operation = what == 0   ? GuestStep::Operation::flush
                     : what == 1 ? GuestStep::Operation::discard
                     : what <= 4 ? GuestStep::Operation::zero
                                 : GuestStep::Operation::write;
    if (step.operation == GuestStep::Operation::flush) return step;
    const auto active = std::ranges::find(drawn_.images, drawn_.active, &Image::name);
    const Range where = range(active->size);
    step.offset = where.offset;
    step.length = where.length;
    if (step.operation == GuestStep::Operation::write && !one_in(10)) step.pattern = pattern;
    return step;
  }
  std::vector<GuestStep> guest_steps(std::uint8_t pattern) {
    std::vector<GuestStep> steps;
    for (std::uint64_t count = rng_.below(4); count > 0; --count)
      steps.push_back(guest_step(pattern));
    return steps;
  }

  void draw_course() {
    static constexpr std::array kEnds = {End::abort, End::abort,      End::pivot,
                                         End::pivot, End::pivot,      End::abort_async,
                                         End::leave, End::early_abort};
    drawn_.end = any_of(kEnds);
    drawn_.early_pivot = one_in(4);
    drawn_.while_held = guest_steps(9);
    drawn_.while_ready = guest_steps(10);
    if (one_in(2)) drawn_.afterwards.push_back(guest_step(5));
  }

  sim::Rng rng_;
  BlockCopyCase drawn_;
};

}  // namespace

rc::Gen<BlockCopyCase> block_copy_cases() {
  return [](const rc::Random& random, int) {
    return rc::shrinkable::shrinkRecur(
        Drawing(rc::Random(random).next()).draw(),
        [](const BlockCopyCase& from) { return rc::seq::fromContainer(smaller(from)); });
  };
}

}  // namespace conformance::property
