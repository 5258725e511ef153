// Drawing a block copy.  Everything comes from the Random that RapidCheck hands in.

#include <rapidcheck.h>

#include <algorithm>
#include <array>

#include "conformance/property/block_copy_case.h"
#include "conformance/property/drawing.h"

namespace conformance::property {

namespace {

class CopyDrawing : Drawing {
 public:
  using Drawing::Drawing;

  BlockCopyCase draw() {
    draw_chain();
    draw_call();
    draw_destination();
    draw_course();
    repair(drawn_);
    return std::move(drawn_);
  }

 private:
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

  std::uint64_t disk_size() const {
    return std::ranges::find(drawn_.images, drawn_.active, &Image::name)->size;
  }
  std::vector<GuestStep> guest_steps(std::uint8_t pattern) {
    std::vector<GuestStep> steps;
    for (std::uint64_t count = rng_.below(4); count > 0; --count)
      steps.push_back(guest_step("vda", disk_size(), pattern));
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
    if (one_in(2)) drawn_.afterwards.push_back(guest_step("vda", disk_size(), 5));
  }

  BlockCopyCase drawn_;
};

}  // namespace

rc::Gen<BlockCopyCase> block_copy_cases() {
  return [](const rc::Random& random, int) {
    return rc::shrinkable::shrinkRecur(
        CopyDrawing(rc::Random(random).next()).draw(),
        [](const BlockCopyCase& from) { return rc::seq::fromContainer(smaller(from)); });
  };
}

}  // namespace conformance::property
