// blockdev-add, blockdev-del, blockdev-create.

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "sim/block/backend.h"
#include "sim/command/context.h"
#include "sim/driver/open.h"
#include "sim/job/create.h"
#include "sim/qcow2/create.h"

namespace sim::command {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

Task<Result<Json>> blockdev_add(Context& context, Json arguments) {
  CO_TRY(const block::NodePtr node,
         co_await driver::open_node(context.graph, std::move(arguments), true));
  for (const block::EdgePtr& child : node->children())
    look_at(context, *child->node(), "blockdev-add");
  node->monitor_owned = true;
  co_return Json::object();
}

// In QEMU's order.
Result<> check_deletable(const block::Node& node) {
  for (const block::Edge* edge : node.parents())
    if (edge->user() != nullptr && edge->name() == "root")
      return generic(fmt::format("Node {} is in use", node.name()));
  TRY_OK(node.check_allowed(block::Op::drive_del));
  if (!node.monitor_owned)
    return generic(fmt::format("Node {} is not owned by the monitor", node.name()));
  if (!node.parents().empty())
    return generic(fmt::format("Block device {} is in use", node.name()));
  return ok();
}

Task<Result<Json>> blockdev_del(Context& context, Json arguments) {
  const std::string name = arguments["node-name"].get<std::string>();
  block::NodePtr node = context.graph.find(name);
  if (!node)
    co_return generic(context.profile.del_quotes_node
                          ? fmt::format("Failed to find node with node-name='{}'", name)
                          : fmt::format("Cannot find node {}", name));
  CO_TRY_OK(check_deletable(*node));
  node->monitor_owned = false;
  co_return Json::object();
}

// --- blockdev-create -----------------------------------------------------------------------------

// What is declared but not made is refused by name, never silently ignored.
Result<> check_made(const Json& options) {
  for (const auto& [name, made] :
       {std::pair{"version", Json("v3")}, std::pair{"refcount-bits", Json(16)},
        std::pair{"lazy-refcounts", Json(false)}, std::pair{"extended-l2", Json(false)},
        std::pair{"preallocation", Json("off")}, std::pair{"compression-type", Json("zlib")},
        std::pair{"data-file", Json()}, std::pair{"data-file-raw", Json(false)},
        std::pair{"encrypt", Json()}, std::pair{"extent-size-hint", Json()}})
    if (options.contains(name) && options[name] != made)
      return generic(
          fmt::format("understudy: {}={} is not in this version", name, options[name].dump()));
  return ok();
}

// Drivers of 7.2 beside ours that blockdev-create knows.
bool creates(std::string_view driver) {
  constexpr std::array<std::string_view, 12> kCreators = {"gluster", "luks", "nfs",  "parallels",
                                                          "qcow",    "qed",  "rbd",  "sheepdog",
                                                          "ssh",     "vdi",  "vhdx", "vmdk"};
  return driver == "vpc" || std::ranges::find(kCreators, driver) != kCreators.end();
}

Task<Result<>> create_file(Context& context, Json options) {
  const std::string path = options["filename"].get<std::string>();
  auto created = context.graph.files().create(path);
  if (!created) {
    Error error = std::move(created).error();
    error.desc = fmt::format("Could not create '{}': {}", path, error.desc);
    co_return error;
  }
  co_await context.world.scheduler.yield();
  co_return co_await (*created)->truncate(options["size"].get<std::uint64_t>());
}

Task<Result<>> create_qcow2(Context& context, Json options) {
  block::NodePtr file;
  if (options["file"].is_string()) {
    CO_TRY(file, node_or_device(context, options["file"].get<std::string>()));
  } else {
    CO_TRY(file, co_await driver::open_node(context.graph, options["file"], false));
  }
  block::Backend user(context.graph, "", {block::kWrite | block::kResize});
  CO_TRY_OK(user.insert(file));
  if (file->storage() == nullptr)
    co_return generic("Driver of the file node does not support this in this version");
  qcow2::CreateOptions wanted;
  const std::uint64_t cluster = options.value("cluster-size", std::uint64_t{65536});
  if (!is_power_of_two(cluster) || cluster < 512 || cluster > 2_MiB)
    co_return generic("Cluster size must be a power of two between 512 and 2048k");
  wanted.cluster_bits = static_cast<std::uint32_t>(std::countr_zero(cluster));
  wanted.size = options["size"].get<std::uint64_t>();
  if (wanted.size % 512 != 0) co_return generic("Image size must be a multiple of 512 bytes");
  wanted.backing_file = options.value("backing-file", "");
  wanted.backing_format = options.value("backing-fmt", "");
  if (wanted.backing_file.empty() && !wanted.backing_format.empty())
    co_return generic("Backing format cannot be used without backing file");
  co_await context.world.scheduler.yield();
  co_return co_await qcow2::create(*file->storage(), std::move(wanted));
}

Task<Result<Json>> blockdev_create(Context& context, Json arguments) {
  const Json& options = arguments["options"];
  const std::string driver = options["driver"].get<std::string>();
  const bool is_file = driver == "file";
  if (!is_file && driver != "qcow2")
    co_return generic(creates(driver)
                          ? fmt::format("understudy: driver '{}' is not in this version", driver)
                          : "Driver does not support blockdev-create");
  CO_TRY_OK(check_made(options));
  const std::string id = arguments["job-id"].get<std::string>();
  CO_TRY_OK(context.jobs.check_new_id(id));
  context.jobs.start(std::make_shared<job::Create>(
      context.world, id, [&context, is_file, options = Json(options)]() -> Task<Result<>> {
        return is_file ? create_file(context, options) : create_qcow2(context, options);
      }));
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{"blockdev-add", blockdev_add},
    Command{"blockdev-create", blockdev_create},
    Command{"blockdev-del", blockdev_del},
};

}  // namespace

std::span<const Command> blockdev_commands() { return kCommands; }

}  // namespace sim::command
