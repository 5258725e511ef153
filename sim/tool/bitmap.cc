// `bitmap`: changes persistent bitmaps.  Several actions in one call are done in order.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <memory>
#include <optional>

#include "sim/qcow2/format.h"
#include "sim/tool/invocation.h"
#include "sim/tool/tool.h"

namespace sim::tool {

namespace {

struct Action {
  std::string name;    // "add"
  std::string source;  // of a merge
};

struct Plan {
  std::vector<Action> actions;
  std::uint64_t granularity = 0;  // 0: the default
  std::string file, bitmap;
};

constexpr std::array<std::string_view, 6> kActions = {"add",    "remove",  "clear",
                                                      "enable", "disable", "merge"};

// What was asked for; refused in QEMU's words and order.
Result<Plan> plan_of(const Invocation& invocation) {
  const auto refuse = [](std::string_view text) {
    return Error{ErrorClass::generic, std::string(text), EINVAL};
  };
  Plan plan;
  for (const auto& [option, value] : invocation.in_order()) {
    if (std::ranges::find(kActions, option) != kActions.end())
      plan.actions.push_back({option, value});
    if (option == "granularity") {
      TRY(plan.granularity, parse_number("granularity", value));
    }
  }
  if (plan.actions.empty())
    return refuse("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
  if (plan.granularity != 0 && !invocation.has("add"))
    return refuse("granularity only supported with --add");
  if (invocation.has("source-format") && !invocation.has("source-file"))
    return refuse("-F only supported with -b");
  if (invocation.has("source-file") && !invocation.has("merge"))
    return refuse("Merge bitmap source file only supported with --merge");
  if (invocation.names().size() != 2) return refuse("Expecting filename and bitmap name");
  plan.file = invocation.names()[0];
  plan.bitmap = invocation.names()[1];
  return plan;
}

Error generic(std::string text) { return {ErrorClass::generic, std::move(text), EINVAL}; }

Task<Result<>> add(image::Layer& layer, const Plan& plan) {
  qcow2::Image* const image = layer.qcow2();
  const std::uint64_t granularity = plan.granularity;
  if (granularity != 0 && (!is_power_of_two(granularity) || granularity < 512 ||
                           granularity >> qcow2::format::kBitmapGranularityBitsMax > 1))
    co_return generic("Granularity must be power of 2 and at least 512");
  if (plan.bitmap.empty()) co_return generic("Bitmap name cannot be empty");
  if (image == nullptr)
    co_return os_error(ENOTSUP, fmt::format("Can't store persistent bitmaps to {}", layer.path()));
  const auto bits = granularity == 0 ? image->default_granularity_bits()
                                     : static_cast<std::uint8_t>(std::countr_zero(granularity));
  if (auto can = image->can_store_bitmap(plan.bitmap, bits); !can)
    co_return generic(fmt::format("Can't make bitmap '{}' persistent in '{}': {}", plan.bitmap,
                                  layer.path(), can.error().desc));
  co_return co_await image->add_bitmap(plan.bitmap, bits, true);
}

Task<Result<>> perform(image::Layer& layer, image::Layer* source, const Plan& plan,
                       const Action& action) {
  if (action.name == "add") co_return co_await add(layer, plan);
  const auto missing = [](const std::string& name) {
    return generic(fmt::format("Dirty bitmap '{}' not found", name));
  };
  qcow2::Image* const image = layer.qcow2();
  if (image == nullptr) co_return missing(plan.bitmap);
  if (action.name == "remove") co_return co_await image->remove_bitmap(plan.bitmap);
  if (action.name == "clear") co_return co_await image->clear_bitmap(plan.bitmap);
  if (action.name != "merge")
    co_return co_await image->enable_bitmap(plan.bitmap, action.name == "enable");
  if (source != nullptr && source->qcow2() == nullptr) co_return missing(action.source);
  co_return co_await image->merge_bitmap(plan.bitmap, source != nullptr ? *source->qcow2() : *image,
                                         action.source);
}

// The file of -b, which must be another one.
Task<Result<std::unique_ptr<image::Layer>>> open_source(Invocation& invocation,
                                                        const image::Layer& target) {
  const std::string name = invocation.value("source-file");
  image::OpenRequest request{.filename = name, .format = invocation.value("source-format")};
  CO_TRY(auto source, co_await image::open_chain(invocation.context(), std::move(request)));
  const auto ours = invocation.files().canonical(target.path());
  const auto theirs = invocation.files().canonical(source->path());
  if (ours.ok() && theirs.ok() && *ours == *theirs)
    co_return generic(fmt::format(
        "Could not open '{}': Failed to get shared \"write\" lock\nIs another process using the "
        "image [{}]?",
        name, name));
  co_return source;
}

Task<int> run_actions(Invocation& invocation, image::Layer& layer, image::Layer* source,
                      const Plan& plan) {
  for (const Action& action : plan.actions) {
    const auto done = co_await perform(layer, source, plan, action);
    if (done) continue;
    std::string text = fmt::format("Operation {} on bitmap {} failed: {}", action.name, plan.bitmap,
                                   done.error().desc);
    if (text.ends_with("is inconsistent and cannot be used"))
      text += "\nTry block-dirty-bitmap-remove to delete this bitmap from disk";
    co_return invocation.fail(text);
  }
  co_return 0;
}

}  // namespace

Task<int> bitmap_command(Invocation& invocation) {
  if (const auto code = invocation.parse({{'b', "source-file", true},
                                          {'f', "", true},
                                          {'F', "source-format", true},
                                          {'g', "granularity", true},
                                          {'\0', "add", false},
                                          {'\0', "remove", false},
                                          {'\0', "clear", false},
                                          {'\0', "enable", false},
                                          {'\0', "disable", false},
                                          {'\0', "merge", true}}))
    co_return *code;
  const Result<Plan> plan = plan_of(invocation);
  if (!plan) co_return invocation.fail(plan.error().desc);
  image::OpenRequest request = invocation.request(plan->file, true);
  request.with_backing = false;
  auto layer = co_await image::open_chain(invocation.context(), std::move(request));
  if (!layer) co_return invocation.fail(layer.error().desc);
  std::unique_ptr<image::Layer> source;
  int code = 0;
  if (invocation.has("source-file")) {
    auto opened = co_await open_source(invocation, **layer);
    if (opened)
      source = *std::move(opened);
    else
      code = invocation.fail(opened.error().desc);
  }
  if (code == 0) code = co_await run_actions(invocation, **layer, source.get(), *plan);
  if (source) (void)co_await source->close();
  if (auto closed = co_await (*layer)->close(); !closed)
    code = invocation.fail(fmt::format("'{}': {}", plan->file, closed.error().desc));
  co_return code;
}

}  // namespace sim::tool
