// Drawing a domain and what is done to it.

#include <rapidcheck.h>

#include <algorithm>
#include <array>

#include "conformance/property/domain_case.h"
#include "conformance/property/drawing.h"

namespace conformance::property {

namespace {

class DomainDrawing : Drawing {
 public:
  using Drawing::Drawing;

  DomainCase draw() {
    for (std::uint64_t disks = 1 + (one_in(3) ? rng_.below(3) : 0); disks > 0; --disks)
      draw_chain();
    for (std::uint64_t actions = 1 + rng_.below(9); actions > 0; --actions) draw_action();
    if (one_in(2)) draw_leases();
    if (one_in(3)) drawn_.recipe = CopyRecipe::drive;
    return std::move(drawn_);
  }

 private:
  using Kind = PlannedAction::Kind;

  void draw_chain() {
    const std::uint64_t depth = 1 + rng_.below(5);
    const std::uint64_t common = size();
    const bool relative = one_in(3);
    std::string below;
    // Sometimes over an image that another disk has below its active one.
    if (!drawn_.images.empty() && one_in(4)) {
      below = drawn_.images[rng_.below(drawn_.images.size())].name;
      if (std::ranges::count(drawn_.actives, below) != 0) below.clear();
    }
    for (std::uint64_t i = 0; i < depth; ++i) {
      Image image;
      image.name = image.file = "layer" + std::to_string(drawn_.images.size());
      const bool raw = below.empty() && one_in(3);
      image.format = raw ? Image::Format::raw : Image::Format::qcow2;
      image.size = one_in(5) ? size() : common;
      if (!raw) image.cluster_size = cluster_size();
      image.backing = below;
      if (relative && !below.empty()) image.backing_name = below;
      fill(image, static_cast<std::uint8_t>(drawn_.images.size() + 1));
      below = image.name;
      drawn_.images.push_back(std::move(image));
    }
    drawn_.actives.push_back(below);
  }

  // Others may read what is no disk's own, and have any file that is not there yet.
  void draw_leases() {
    drawn_.leases.emplace();
    if (one_in(2)) return;
    const std::string& image = drawn_.images[rng_.below(drawn_.images.size())].name;
    if (std::ranges::count(drawn_.actives, image) == 0)
      drawn_.leases->push_back({image, "pool", LeaseMode::shared});
    if (one_in(4))
      drawn_.leases->push_back(
          {"copy" + std::to_string(rng_.below(5)), "pool", LeaseMode::exclusive});
  }

  template <std::size_t n>
  std::vector<std::string> some_of(const std::array<const char*, n>& flags, std::uint64_t rarity) {
    std::vector<std::string> chosen;
    for (const char* flag : flags)
      if (one_in(rarity)) chosen.emplace_back(flag);
    return chosen;
  }

  void draw_action() {
    static constexpr std::array kKinds = {Kind::pull,
                                          Kind::rebase,
                                          Kind::rebase,
                                          Kind::commit,
                                          Kind::commit,
                                          Kind::commit,
                                          Kind::copy,
                                          Kind::copy_by_document,
                                          Kind::copy_by_document,
                                          Kind::abort,
                                          Kind::abort,
                                          Kind::abort,
                                          Kind::release,
                                          Kind::snapshot,
                                          Kind::snapshot,
                                          Kind::snapshot,
                                          Kind::delete_snapshot,
                                          Kind::delete_snapshot,
                                          Kind::revert,
                                          Kind::guest,
                                          Kind::guest,
                                          Kind::guest,
                                          Kind::check};
    PlannedAction action;
    action.kind = any_of(kKinds);
    action.disk = static_cast<unsigned>(rng_.below(3));
    action.base = static_cast<unsigned>(one_in(8) ? 7 + rng_.below(2) : rng_.below(6));
    action.top = static_cast<unsigned>(one_in(4) ? 8 : rng_.below(3));
    action.spelling = static_cast<PlannedAction::Spelling>(rng_.below(3));
    action.held = one_in(3);
    switch (action.kind) {
      case Kind::rebase:
        action.flags = some_of(std::array{"relative"}, 5);
        break;
      case Kind::commit:
        action.flags = some_of(std::array{"shallow", "delete", "relative"}, 5);
        if (action.top == 0 || action.top == 8 ? !one_in(8) : one_in(8))
          action.flags.emplace_back("active");
        break;
      case Kind::copy:
        draw_copy(action);
        break;
      case Kind::copy_by_document:
        draw_copy_by_document(action);
        break;
      case Kind::snapshot:
        draw_snapshot(action);
        break;
      case Kind::delete_snapshot:
        action.snapshot = snapshot_name();
        action.flags = some_of(std::array{"children", "metadata-only", "children-only"}, 6);
        break;
      case Kind::revert:
        action.snapshot = snapshot_name();
        action.flags = some_of(std::array{"paused", "force"}, 6);
        break;
      case Kind::abort:
        action.flags = some_of(std::array{"pivot"}, 2);
        if (one_in(5)) action.flags.emplace_back("async");
        break;
      case Kind::guest:
        action.guest = guest_step("vda", drawn_.images.back().size,
                                  static_cast<std::uint8_t>(100 + drawn_.actions.size()));
        break;
      default:
        break;
    }
    drawn_.actions.push_back(std::move(action));
  }

  // Mostly into a new file; sometimes into one that is there, which may be in use.
  void draw_copy(PlannedAction& action) {
    action.flags = some_of(std::array{"shallow"}, 2);
    action.destination = "copy" + std::to_string(drawn_.actions.size());
    if (one_in(6)) action.flags.emplace_back("copy-raw");
    if (!one_in(4)) return;
    action.flags.emplace_back("reuse-ext");
    action.destination = drawn_.images[rng_.below(drawn_.images.size())].name;
    if (one_in(2)) action.destination = "copy" + std::to_string(rng_.below(5));
  }

  std::string snapshot_name() { return "s" + std::to_string(rng_.below(4)); }

  void draw_snapshot(PlannedAction& action) {
    static constexpr std::array kModes = {"", "", "", "no", "external", "internal", "manual"};
    action.snapshot = snapshot_name();
    action.flags = some_of(std::array{"no-metadata", "reuse-ext", "quiesce"}, 12);
    if (!one_in(3)) action.flags.emplace_back("disk-only");
    if (!one_in(3)) return;
    for (int disk = 0; disk < 3; ++disk) action.modes.emplace_back(any_of(kModes));
  }

  void draw_copy_by_document(PlannedAction& action) {
    static constexpr std::array<std::uint32_t, 4> kGranularities = {4096, 16384, 65536, 1U << 20};
    action.flags = some_of(std::array{"shallow"}, 2);
    for (const char* flag : {"transient-job", "synchronous-writes"})
      if (one_in(3)) action.flags.emplace_back(flag);
    action.destination = "copy" + std::to_string(drawn_.actions.size());
    if (one_in(3)) action.document.format = static_cast<CopyDestination::Format>(rng_.below(3));
    if (one_in(3)) action.granularity = any_of(kGranularities);
    if (one_in(3)) {
      action.flags.emplace_back("reuse-ext");
      action.destination = drawn_.images[rng_.below(drawn_.images.size())].name;
    }
    // scenarios/bugs/mirror-synchronous-fills-with-zeroes would be found again and again.
    if (std::ranges::count(action.flags, "reuse-ext") != 0)
      std::erase(action.flags, "synchronous-writes");
    if (!one_in(3)) return;
    for (std::uint64_t layers = rng_.below(3); layers > 0; --layers) {
      const Image& image = drawn_.images[rng_.below(drawn_.images.size())];
      action.document.backing.push_back({image.name, image.format});
    }
    action.document.terminated = !one_in(3);
  }

  DomainCase drawn_;
};

}  // namespace

rc::Gen<DomainCase> domain_cases() {
  return [](const rc::Random& random, int) {
    return rc::shrinkable::shrinkRecur(
        DomainDrawing(rc::Random(random).next()).draw(),
        [](const DomainCase& from) { return rc::seq::fromContainer(smaller(from)); });
  };
}

}  // namespace conformance::property
