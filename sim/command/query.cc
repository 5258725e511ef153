// query-block, query-named-block-nodes: what the graph looks like.

#include <algorithm>
#include <array>
#include <ranges>

#include "sim/base/size.h"
#include "sim/block/chain.h"
#include "sim/command/vm_snapshot.h"

namespace sim::command {

namespace {

// Discards of a node are best multiples of it; 0: any.  A format's clusters, or what lies below.
std::uint64_t discard_alignment(const block::Node& node) {
  if (node.supports_backing()) return node.cluster_size();
  std::uint64_t alignment = 0;
  for (const block::EdgePtr& child : node.children())
    if ((child->roles() & (block::kData | block::kFiltered | block::kCow)) != 0)
      alignment = std::max(alignment, discard_alignment(*child->node()));
  return alignment;
}

bool is_job_filter(const block::Node& node) {
  return node.driver() == "mirror_top" || node.driver() == "commit_top";
}

// How buffers of its requests must lie in memory, at least.
std::uint64_t memory_alignment(const block::Node& node) {
  if (is_job_filter(node)) return 512;
  if (node.driver() == "file") return node.cache_direct ? 4_KiB : 1;
  if (node.children().empty()) return 512;
  std::uint64_t alignment = 1;
  for (const block::EdgePtr& child : node.children())
    if (!is_job_filter(*child->node()))  // it came later: nobody looked again
      alignment = std::max(alignment, memory_alignment(*child->node()));
  return alignment;
}

// QAPI: BlockLimitsInfo, of regular files (measured on 11.1).
Json describe_limits(const block::Node& node) {
  const bool is_coarse = node.probed && node.driver() == "raw";
  Json limits = {{"max-iov", 1024},
                 {"min-mem-alignment", memory_alignment(node)},
                 {"opt-mem-alignment", 4096},
                 {"request-alignment", is_coarse ? 512 : node.request_alignment()}};
  if (is_job_filter(node)) return limits;
  if (const std::uint64_t discard = discard_alignment(node)) limits["discard-alignment"] = discard;
  if (node.supports_backing()) limits["write-zeroes-alignment"] = node.cluster_size();
  return limits;
}

}  // namespace

Json describe_snapshot(const block::InternalSnapshot& snapshot) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  Json info = {{"id", snapshot.id},
               {"name", snapshot.name},
               {"vm-state-size", snapshot.vm_state_size},
               {"date-sec", snapshot.date_sec},
               {"date-nsec", snapshot.date_nsec},
               {"vm-clock-sec", snapshot.vm_clock_ns / kSecond},
               {"vm-clock-nsec", snapshot.vm_clock_ns % kSecond}};
  if (snapshot.icount) info["icount"] = *snapshot.icount;
  return info;
}

namespace {

// QAPI: ImageInfo.  `with_backing` nests the images below, as QEMU does without `flat`.
Json describe_image(const block::Node& node, bool with_backing) {
  Json image = {
      {"filename", node.filename()}, {"format", node.driver()}, {"virtual-size", node.size()}};
  if (node.driver() == "file" && node.graph().profile().files_have_format)
    image["format-specific"] = {{"type", "file"}, {"data", Json::object()}};
  if (node.has_image_info()) image["dirty-flag"] = false;
  const block::Node* bottom = &node;
  while (bottom->file() != nullptr) bottom = bottom->file();
  bottom->describe_image(image);
  if (bottom != &node) node.describe_image(image);
  if (node.cluster_size() != 0) image["cluster-size"] = node.cluster_size();
  if (node.graph().profile().tells_children) image["limits"] = describe_limits(node);
  if (const block::Node* keeper = block::snapshot_node(node))
    for (const block::InternalSnapshot& snapshot : keeper->snapshots())
      image["snapshots"].push_back(describe_snapshot(snapshot));
  if (!with_backing) return image;
  if (const block::Node* below = block::next_layer(node))
    image["backing-image"] = describe_image(*below, true);
  return image;
}

std::string_view status_of(const block::DirtyBitmap& bitmap) {
  if (bitmap.inconsistent) return "inconsistent";
  if (bitmap.successor) return "frozen";
  if (bitmap.busy) return "locked";
  return bitmap.enabled ? "active" : "disabled";
}

Json describe_bitmap(const block::DirtyBitmap& bitmap, const Profile& profile) {
  Json json = {{"recording", bitmap.enabled || bitmap.successor != nullptr},
               {"busy", bitmap.busy},
               {"persistent", bitmap.persistent},
               {"granularity", bitmap.granularity()},
               {"count", align_up(bitmap.count(), bitmap.granularity())}};
  if (!bitmap.name().empty()) json["name"] = bitmap.name();
  if (profile.bitmaps_have_status) json["status"] = status_of(bitmap);
  if (bitmap.inconsistent) json["inconsistent"] = true;
  return json;
}

Json describe_bitmaps(const block::Node& node) {
  Json list = Json::array();
  for (const auto& bitmap : std::views::reverse(node.bitmaps))
    list.push_back(describe_bitmap(*bitmap, node.graph().profile()));
  return list;
}

constexpr std::array<std::string_view, 3> kDetectZeroes = {"off", "on", "unmap"};

// In the order of ThrottleLimits::Kind.
constexpr std::array<std::string_view, 6> kLimits = {"bps",  "bps_rd",  "bps_wr",
                                                     "iops", "iops_rd", "iops_wr"};

// What block_set_io_throttle has set.
void describe_throttling(const block::Backend& backend, Json& info) {
  const block::ThrottleLimits& limits = backend.throttle_group()->limits();
  for (std::size_t i = 0; i < kLimits.size(); ++i) {
    const std::string name(kLimits[i]);
    info[name] = limits.buckets[i].average;
    if (limits.buckets[i].burst == 0) continue;
    info[name + "_max"] = limits.buckets[i].burst;
    info[name + "_max_length"] = limits.buckets[i].burst_length;
  }
  if (limits.iops_size != 0) info["iops_size"] = limits.iops_size;
  info["group"] = backend.throttle_group_name();
}

// QAPI: BlockDeviceInfo.
Json describe_node(const block::Node& node, bool flat) {
  Json info = {
      {"node-name", node.name()},
      {"drv", node.driver()},
      {"ro", node.read_only},
      {"file", node.filename()},
      {"image", describe_image(node, !flat)},
      {"cache",
       {{"writeback", true}, {"direct", node.cache_direct}, {"no-flush", node.cache_no_flush}}},
      {"encrypted", node.is_encrypted()},
      {"detect_zeroes", kDetectZeroes[static_cast<std::size_t>(node.detect_zeroes)]},
  };
  for (const std::string_view limit : kLimits) info[std::string(limit)] = 0;
  info["write_threshold"] = node.write_threshold;
  const Profile& profile = node.graph().profile();
  if (profile.tells_missing_key) info["encryption_key_missing"] = false;
  if (profile.tells_active) info["active"] = !node.inactive;
  if (profile.tells_children) {
    info["children"] = Json::array();
    for (const block::EdgePtr& child : node.children())
      info["children"].push_back({{"child", child->name()}, {"node-name", child->node()->name()}});
  }
  const block::Node* below = block::next_layer(node);
  if (below != nullptr && !node.is_filter()) info["backing_file"] = below->filename();
  std::uint64_t depth = 0;
  if (!flat)
    for (below = block::below(node); below != nullptr; below = block::below(*below)) ++depth;
  info["backing_file_depth"] = depth;
  if (!node.bitmaps.empty()) info["dirty-bitmaps"] = describe_bitmaps(node);
  return info;
}

Task<Result<Json>> query_named_block_nodes(Context& context, Json arguments) {
  const bool flat = arguments.value("flat", false);
  for (const auto& job : context.jobs.all())
    if (context.profile.concluded_backup_crashes_query && job->type() == "backup" &&
        job->status() == job::Status::concluded)
      context.crash = "query-named-block-nodes while job '" + job->id() + "' is concluded";
  for (const block::NodePtr& node : context.graph.all())
    look_at(context, *node, "query-named-block-nodes");
  Json list = Json::array();
  for (const block::NodePtr& node : context.graph.all()) list.push_back(describe_node(*node, flat));
  co_return list;
}

Task<Result<Json>> query_block(Context& context, Json) {
  Json list = Json::array();
  for (const block::Backend* it : context.graph.backends) {
    const block::Backend& backend = *it;
    const block::Device* device = backend.device;
    if (backend.name().empty() && device == nullptr) continue;
    const bool removable = device == nullptr || device->has_removable_media();
    Json info = {{"device", backend.name()},
                 {"type", "unknown"},
                 {"removable", removable},
                 {"locked", device != nullptr && device->is_medium_locked()}};
    if (device != nullptr) info["qdev"] = device->label();
    if (device != nullptr && removable) info["tray_open"] = device->is_tray_open();
    if (backend.tells_io_status())
      info["io-status"] = block::kIoStatusNames[static_cast<std::size_t>(backend.io_status)];
    const block::Node* node = shown_node(backend);
    if (node != nullptr) {
      info["inserted"] = describe_node(*node, false);
      info["inserted"]["cache"]["writeback"] = backend.write_cache;
      if (backend.throttle_group()) describe_throttling(backend, info["inserted"]);
    }
    if (node != nullptr && !node->bitmaps.empty() && context.profile.bitmaps_have_status)
      info["dirty-bitmaps"] = describe_bitmaps(*node);
    list.push_back(std::move(info));
  }
  co_return list;
}

constexpr std::array kCommands = {
    Command{"query-block", query_block},
    Command{"query-named-block-nodes", query_named_block_nodes},
};

}  // namespace

std::span<const Command> query_commands() { return kCommands; }

}  // namespace sim::command
