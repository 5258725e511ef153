// Making a case smaller, one thing at a time.

#include <algorithm>

#include "conformance/property/block_copy_case.h"
#include "sim/base/bytes.h"

namespace conformance::property {

namespace {

using sim::operator""_KiB;

constexpr std::uint64_t kPlainSize = 64_KiB;
constexpr std::uint64_t kPlainCluster = 64_KiB;

class Shrinking {
 public:
  explicit Shrinking(const BlockCopyCase& from) : from_(from) {}

  std::vector<BlockCopyCase> run() {
    remove_images();
    remove_steps();
    simplify_call();
    remove_writes();
    make_images_plain();
    make_ranges_plain();
    return std::move(found_);
  }

 private:
  template <class Change>
  void propose(Change change) {
    BlockCopyCase smaller = from_;
    change(smaller);
    repair(smaller);
    found_.push_back(std::move(smaller));
  }

  // What was backed by a removed image is backed by what is below it.
  void remove_images() {
    for (std::size_t i = 0; i < from_.images.size(); ++i) {
      if (from_.images[i].name == from_.active) continue;
      propose([&](BlockCopyCase& it) {
        const Image gone = it.images[i];
        it.images.erase(it.images.begin() + static_cast<std::ptrdiff_t>(i));
        for (Image& image : it.images)
          if (image.backing == gone.name) image.backing = gone.backing;
      });
    }
    for (std::size_t i = 0; i < from_.images.size(); ++i)
      if (!from_.images[i].backing.empty())
        propose([&](BlockCopyCase& it) { it.images[i].backing.clear(); });
  }

  void remove_steps() {
    for (const auto part :
         {&BlockCopyCase::while_held, &BlockCopyCase::while_ready, &BlockCopyCase::afterwards}) {
      if ((from_.*part).size() > 1) propose([&](BlockCopyCase& it) { (it.*part).clear(); });
      for (std::size_t i = 0; i < (from_.*part).size(); ++i)
        propose([&](BlockCopyCase& it) {
          (it.*part).erase((it.*part).begin() + static_cast<std::ptrdiff_t>(i));
        });
    }
  }

  void simplify_call() {
    if (from_.held) propose([](BlockCopyCase& it) { it.held = false; });
    if (from_.early_pivot) propose([](BlockCopyCase& it) { it.early_pivot = false; });
    for (std::size_t i = 0; i < from_.flags.size(); ++i)
      propose([&](BlockCopyCase& it) {
        it.flags.erase(it.flags.begin() + static_cast<std::ptrdiff_t>(i));
      });
    // Without REUSE_EXT the destination must not be there: the two go together.
    if (std::ranges::count(from_.flags, "reuse-ext") != 0)
      propose([&](BlockCopyCase& it) {
        std::erase(it.flags, "reuse-ext");
        it.destination = "copy";
        if (it.active != "copy") std::erase_if(it.images, is_copy);
      });
    for (auto end = static_cast<unsigned char>(from_.end); end > 0; --end)
      propose([&](BlockCopyCase& it) {
        it.end = static_cast<End>(static_cast<unsigned char>(from_.end) - end);
      });
  }
  static bool is_copy(const Image& image) { return image.name == "copy"; }

  void remove_writes() {
    for (std::size_t i = 0; i < from_.images.size(); ++i) {
      if (from_.images[i].writes.size() > 1)
        propose([&](BlockCopyCase& it) { it.images[i].writes.clear(); });
      for (std::size_t k = 0; k < from_.images[i].writes.size(); ++k)
        propose([&](BlockCopyCase& it) {
          auto& writes = it.images[i].writes;
          writes.erase(writes.begin() + static_cast<std::ptrdiff_t>(k));
        });
    }
  }

  // Sizes: all images alike, then the size they share, then each; towards one plain cluster.
  void make_images_plain() {
    const auto active = std::ranges::find(from_.images, from_.active, &Image::name);
    for (const std::uint64_t size : {kPlainSize, 4 * kPlainSize, active->size / 2})
      resize_those_of(active->size, size);
    for (std::size_t i = 0; i < from_.images.size(); ++i) {
      const Image& image = from_.images[i];
      if (image.size > active->size)
        propose([&](BlockCopyCase& it) { it.images[i].size = active->size; });
      if (image.size > kPlainSize && image.size != active->size)
        propose([&](BlockCopyCase& it) { it.images[i].size = kPlainSize; });
      if (image.format == Image::Format::qcow2 && image.cluster_size != kPlainCluster)
        propose([&](BlockCopyCase& it) { it.images[i].cluster_size = kPlainCluster; });
    }
  }
  void resize_those_of(std::uint64_t old_size, std::uint64_t size) {
    size = sim::align_down(size, 512);
    if (size < kPlainSize || size >= old_size) return;
    propose([&](BlockCopyCase& it) {
      for (Image& image : it.images)
        if (image.size == old_size) image.size = size;
    });
  }

  // Of a write: plain bytes, from the start, whole clusters.
  template <class Range, class Set>
  void plain_range(const Range& range, std::uint64_t size, Set set) {
    Range plain = range;
    plain.offset = sim::align_down(range.offset, kPlainSize);
    plain.length =
        std::min(sim::align_up(range.offset + range.length, kPlainSize), size) - plain.offset;
    if (plain.offset != range.offset || plain.length != range.length) set(plain);
    plain = range;
    plain.length = std::min(range.length, kPlainSize);
    if (plain.length != range.length) set(plain);
    plain = range;
    plain.offset = 0;
    if (plain.offset != range.offset && range.length <= range.offset) set(plain);
  }

  void make_ranges_plain() {
    for (std::size_t i = 0; i < from_.images.size(); ++i)
      for (std::size_t k = 0; k < from_.images[i].writes.size(); ++k) {
        const auto set = [&](const Write& write) {
          propose([&](BlockCopyCase& it) { it.images[i].writes[k] = write; });
        };
        Write write = from_.images[i].writes[k];
        plain_range(write, from_.images[i].size, set);
        if (write.kind == Write::Kind::data) continue;
        write.kind = write.kind == Write::Kind::discard ? Write::Kind::zero : Write::Kind::data;
        set(write);
      }
    const auto active = std::ranges::find(from_.images, from_.active, &Image::name);
    for (const auto part :
         {&BlockCopyCase::while_held, &BlockCopyCase::while_ready, &BlockCopyCase::afterwards})
      for (std::size_t i = 0; i < (from_.*part).size(); ++i)
        plain_range((from_.*part)[i], active->size, [&](const GuestStep& step) {
          propose([&](BlockCopyCase& it) { (it.*part)[i] = step; });
        });
  }

  const BlockCopyCase& from_;
  std::vector<BlockCopyCase> found_;
};

}  // namespace

std::vector<BlockCopyCase> smaller(const BlockCopyCase& from) { return Shrinking(from).run(); }

}  // namespace conformance::property
