// block-dirty-bitmap-…, alone or as actions of a transaction.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/command/action.h"
#include "sim/crypto/hash.h"

namespace sim::command {

namespace {

using block::DirtyBitmap;
using BitmapPtr = std::shared_ptr<DirtyBitmap>;
using Transaction = std::shared_ptr<job::Transaction>;

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

struct Found {
  block::NodePtr node;
  BitmapPtr bitmap;
};

Result<BitmapPtr> find_bitmap(const block::Node& node, const std::string& name) {
  BitmapPtr bitmap = name.empty() ? nullptr : node.find_bitmap(name);
  if (!bitmap) return generic(fmt::format("Dirty bitmap '{}' not found", name));
  return bitmap;
}

Result<Found> look_up(Context& context, const std::string& node_name, const std::string& name) {
  auto node = node_or_device(context, node_name);
  if (!node) return generic(fmt::format("Node '{}' not found", node_name));
  TRY(BitmapPtr bitmap, find_bitmap(**node, name));
  return Found{*std::move(node), std::move(bitmap)};
}

Result<Found> look_up(Context& context, const Json& arguments) {
  return look_up(context, arguments["node"].get<std::string>(),
                 arguments["name"].get<std::string>());
}

Result<> check_storable(const Profile& profile, const block::Node& node, const std::string& name,
                        std::uint64_t granularity) {
  if (profile.persistent_bitmaps_need_write_access && (node.read_only || node.inactive))
    return generic(fmt::format("Cannot add a persistent bitmap to read-only or inactive node '{}'",
                               node.device_or_node_name()));
  return node.can_store_bitmap(name, granularity);
}

Task<Result<Prepared>> add(Context& context, Json arguments, Transaction) {
  const std::string name = arguments["name"].get<std::string>();
  if (name.empty()) co_return generic("Bitmap name cannot be empty");
  CO_TRY(const block::NodePtr node, node_or_device(context, arguments["node"].get<std::string>()));
  const std::uint64_t cluster = node->cluster_size();
  const std::uint64_t usual =
      cluster == 0 ? 64_KiB : std::clamp<std::uint64_t>(cluster, 4_KiB, 64_KiB);
  const std::uint64_t granularity = arguments.value("granularity", usual);
  if (granularity < 512 || !is_power_of_two(granularity))
    co_return generic("Granularity must be power of 2 and at least 512");
  const bool persistent = arguments.value("persistent", false);
  if (persistent) CO_TRY_OK(check_storable(context.profile, *node, name, granularity));
  if (node->find_bitmap(name)) co_return generic(fmt::format("Bitmap already exists: {}", name));
  if (name.size() > 1023) co_return generic(fmt::format("Bitmap name too long: {}", name));
  look_at(context, *node, "block-dirty-bitmap-add");
  auto bitmap = std::make_shared<DirtyBitmap>(name, node->size(), granularity);
  bitmap->enabled = !arguments.value("disabled", false);
  bitmap->persistent = persistent;
  node->bitmaps.push_back(bitmap);
  co_return Prepared{.abort = [node, bitmap] { std::erase(node->bitmaps, bitmap); }};
}

// Takes it out of the image, if it is persistent; the node has it still.
Task<Result<>> forget_stored(const Profile& profile, block::NodePtr node, BitmapPtr bitmap) {
  if (!bitmap->persistent) co_return ok();
  if (profile.persistent_bitmaps_need_write_access && (node->read_only || node->inactive))
    co_return generic(
        fmt::format("Cannot remove persistent bitmap '{}': no write access to node '{}'",
                    bitmap->name(), node->device_or_node_name()));
  CO_TRY_OK(bitmap->check(DirtyBitmap::Check::writable));
  co_return co_await node->forget_stored_bitmap(bitmap->name());
}

// Until all is decided it is there, and cannot be used.
Task<Result<Prepared>> remove(Context& context, Json arguments, Transaction) {
  CO_TRY(const Found found, look_up(context, arguments));
  CO_TRY_OK(found.bitmap->check(DirtyBitmap::Check::present));
  CO_TRY_OK(co_await forget_stored(context.profile, found.node, found.bitmap));
  found.bitmap->busy = true;
  co_return Prepared{.commit = [found]() -> Task<void> {
                       found.bitmap->busy = false;
                       std::erase(found.node->bitmaps, found.bitmap);
                       co_return;
                     },
                     .abort = [found] { found.bitmap->busy = false; }};
}

Task<Result<Prepared>> clear(Context& context, Json arguments, Transaction) {
  CO_TRY(const Found found, look_up(context, arguments));
  CO_TRY_OK(found.bitmap->check(DirtyBitmap::Check::changeable));
  const DirtyBitmap before = *found.bitmap;
  found.bitmap->clear();
  co_return Prepared{.abort = [found, before] { *found.bitmap = before; }};
}

template <bool enabled>
Task<Result<Prepared>> enable(Context& context, Json arguments, Transaction) {
  CO_TRY(const Found found, look_up(context, arguments));
  CO_TRY_OK(found.bitmap->check(DirtyBitmap::Check::usable));
  const bool before = std::exchange(found.bitmap->enabled, enabled);
  co_return Prepared{.abort = [found, before] { found.bitmap->enabled = before; }};
}

Result<> merge_one(const Profile& profile, DirtyBitmap& into, const DirtyBitmap& from) {
  TRY_OK(into.check(DirtyBitmap::Check::changeable));
  TRY_OK(from.check(DirtyBitmap::Check::usable));
  if (into.size() != from.size())
    return generic(profile.merge_names_sizes
                       ? fmt::format("Bitmaps are of different sizes (destination size is {}, "
                                     "source size is {}) and can't be merged",
                                     into.size(), from.size())
                       : "Bitmaps are incompatible and can't be merged");
  into.merge(from);
  return ok();
}

Result<BitmapPtr> find_source(Context& context, const block::Node& node, const Json& source) {
  if (source.is_string()) return find_bitmap(node, source.get<std::string>());
  TRY(const Found other, look_up(context, source));
  return other.bitmap;
}

// One after the other into the target, or all into one that then goes into the target (5.2).
Task<Result<>> merge_all(Context& context, Found target, Json sources) {
  DirtyBitmap all("", target.bitmap->size(), target.bitmap->granularity());
  const bool directly = context.profile.merge_looks_at_target_first;
  for (const Json& source : sources) {
    CO_TRY(const BitmapPtr from, find_source(context, *target.node, source));
    CO_TRY_OK(merge_one(context.profile, directly ? *target.bitmap : all, *from));
  }
  if (directly) co_return ok();
  co_return merge_one(context.profile, *target.bitmap, all);
}

Task<Result<Prepared>> merge(Context& context, Json arguments, Transaction) {
  const std::string node_name = arguments["node"].get<std::string>();
  CO_TRY(const Found target, look_up(context, node_name, arguments["target"].get<std::string>()));
  const Json& sources = arguments["bitmaps"];
  if (sources.empty() && context.profile.merge_of_nothing_crashes)
    context.crash = "block-dirty-bitmap-merge of no bitmaps";
  const DirtyBitmap before = *target.bitmap;
  Result<> merged = co_await merge_all(context, target, sources);
  if (!merged) {
    *target.bitmap = before;
    co_return std::move(merged).error();
  }
  co_return Prepared{.abort = [target, before] { *target.bitmap = before; }};
}

// Of the granules' bits, in words of 64 bits as they are in memory.
Task<Result<Json>> sha256(Context& context, Json arguments) {
  CO_TRY(const Found found, look_up(context, arguments));
  const std::uint64_t granules = div_up(found.bitmap->size(), found.bitmap->granularity());
  std::vector<std::byte> words(std::max<std::uint64_t>(div_up(granules, 64), 1) * 8);
  for (std::uint64_t i = 0; i < granules; ++i)
    if (found.bitmap->is_dirty(i * found.bitmap->granularity()))
      words[i / 8] |= std::byte{1} << (i % 8);
  std::array<std::byte, 32> digest{};
  crypto::Hash::find("sha256")->digest({words}, digest);
  std::string text;
  for (const std::byte byte : digest) text += fmt::format("{:02x}", std::to_integer<int>(byte));
  co_return Json{{"sha256", text}};
}

constexpr Action kAdd{"block-dirty-bitmap-add", add};
constexpr Action kClear{"block-dirty-bitmap-clear", clear};
constexpr Action kDisable{"block-dirty-bitmap-disable", enable<false>};
constexpr Action kEnable{"block-dirty-bitmap-enable", enable<true>};
constexpr Action kMerge{"block-dirty-bitmap-merge", merge};
constexpr Action kRemove{"block-dirty-bitmap-remove", remove};
constexpr std::array kActions = {kAdd, kClear, kDisable, kEnable, kMerge, kRemove};

constexpr std::array kCommands = {
    Command{kAdd.type, alone<kAdd>},
    Command{kClear.type, alone<kClear>},
    Command{kDisable.type, alone<kDisable>},
    Command{kEnable.type, alone<kEnable>},
    Command{kMerge.type, alone<kMerge>},
    Command{kRemove.type, alone<kRemove>},
    Command{"x-debug-block-dirty-bitmap-sha256", sha256},
};

}  // namespace

std::span<const Action> bitmap_actions() { return kActions; }
std::span<const Command> bitmap_commands() { return kCommands; }

}  // namespace sim::command
