// query-block, query-named-block-nodes: what the graph looks like.

#include <algorithm>
#include <array>

#include "sim/block/chain.h"
#include "sim/command/context.h"

namespace sim::command {

namespace {

// QAPI: ImageInfo.  `with_backing` nests the images below, as QEMU does without `flat`.
Json describe_image(const block::Node& node, bool with_backing) {
  Json image = {{"filename", node.filename()},
                {"format", node.driver()},
                {"virtual-size", node.size()},
                {"dirty-flag", false}};
  const block::Node* bottom = &node;
  while (bottom->file() != nullptr) bottom = bottom->file();
  bottom->describe_image(image);
  if (bottom != &node) node.describe_image(image);
  if (!with_backing) return image;
  if (const block::Node* below = block::next_layer(node))
    image["backing-image"] = describe_image(*below, true);
  return image;
}

std::string_view status_of(const block::DirtyBitmap& bitmap) {
  if (bitmap.inconsistent) return "inconsistent";
  if (bitmap.successor) return "frozen";
  if (bitmap.busy) return "locked";
  return bitmap.is_recording() ? "active" : "disabled";
}

Json describe_bitmap(const block::DirtyBitmap& bitmap, const Profile& profile) {
  Json json = {{"recording", bitmap.is_recording() || bitmap.successor != nullptr},
               {"busy", bitmap.busy},
               {"persistent", bitmap.persistent},
               {"granularity", bitmap.granularity()},
               {"count", bitmap.count()}};
  if (!bitmap.name().empty()) json["name"] = bitmap.name();
  if (profile.bitmaps_have_status) json["status"] = status_of(bitmap);
  if (bitmap.inconsistent) json["inconsistent"] = true;
  return json;
}

// QAPI: BlockDeviceInfo.
Json describe_node(const block::Node& node, bool flat) {
  Json info = {{"node-name", node.name()},
               {"drv", node.driver()},
               {"ro", node.read_only},
               {"file", node.filename()},
               {"image", describe_image(node, !flat)},
               {"cache", {{"writeback", true}, {"direct", false}, {"no-flush", false}}},
               {"encrypted", false},
               {"detect_zeroes", "off"},
               {"write_threshold", 0}};
  for (const char* limit : {"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"})
    info[limit] = 0;
  const block::Node* below = block::next_layer(node);
  if (below != nullptr && !node.is_filter()) info["backing_file"] = below->filename();
  std::uint64_t depth = 0;
  if (!flat)
    for (below = block::below(node); below != nullptr; below = block::below(*below)) ++depth;
  info["backing_file_depth"] = depth;
  for (const auto& bitmap : node.bitmaps)
    info["dirty-bitmaps"].push_back(describe_bitmap(*bitmap, node.graph().profile()));
  return info;
}

Task<Result<Json>> query_named_block_nodes(Context& context, Json arguments) {
  const bool flat = arguments.value("flat", false);
  Json list = Json::array();
  for (const block::NodePtr& node : context.graph.all()) list.push_back(describe_node(*node, flat));
  co_return list;
}

Task<Result<Json>> query_block(Context& context, Json) {
  Json list = Json::array();
  for (const auto& device : context.devices) {
    block::Node* node = device->node().get();
    while (node->implicit) node = node->filtered();  // QEMU names the job's source
    list.push_back({{"device", ""},
                    {"qdev", device->qom_path()},
                    {"type", "unknown"},
                    {"removable", false},
                    {"locked", false},
                    {"io-status", "ok"},
                    {"inserted", describe_node(*node, false)}});
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
