// device_add, device_del, system_reset.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/command/context.h"

namespace sim::command {

namespace {

using qmp::Argument;
using qmp::Presence;
using qmp::Type;

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

// virtio-blk-pci only; members it does not know are refused as QEMU refuses them.
Task<Result<Json>> device_add(Context& context, Json arguments) {
  if (!arguments.contains("driver")) co_return generic("Parameter 'driver' is missing");
  const std::string driver = arguments["driver"].is_string() ? arguments["driver"] : "";
  if (driver != "virtio-blk-pci")
    co_return generic(fmt::format("'{}' is not a valid device model name", driver));
  const std::string id = arguments.value("id", "");
  for (const auto& [name, value] : arguments.items())
    if (name != "driver" && name != "id" && name != "drive" && name != "bus" && name != "addr" &&
        name != "bootindex")
      co_return generic(fmt::format("Property 'virtio-blk-pci.{}' not found", name));
  for (const auto& device : context.devices)
    if (!id.empty() && device->id() == id)
      co_return generic(fmt::format("Duplicate device ID '{}'", id));
  if (!arguments.contains("drive")) co_return generic("drive property not set");
  const std::string drive = arguments["drive"].is_string() ? arguments["drive"] : "";
  const block::NodePtr node = context.graph.find(drive);
  if (!node)
    co_return generic(
        fmt::format("Property 'virtio-blk-device.drive' can't find value '{}'", drive));
  for (const block::Edge* edge : node->parents())
    if (edge->parent() == nullptr)
      co_return generic(fmt::format(
          "Permission conflict on node '{}': permissions 'write' are both required by block device "
          "'' (uses node '{}' as 'root' child) and unshared by block device '' (uses node '{}' as "
          "'root' child).",
          drive, drive, drive));
  if (!node->read_only) CO_TRY_OK(block::check_writable(context.graph, *node));
  context.devices.push_back(std::make_unique<device::VirtioBlk>(id, node));
  co_return Json::object();
}

constexpr std::array kDel = {Argument{"id", Type::string, Presence::required}};

Task<Result<Json>> device_del(Context& context, Json arguments) {
  const std::string id = arguments["id"].get<std::string>();
  const auto found = std::ranges::find_if(
      context.devices, [&](const auto& device) { return device->id() == id && !id.empty(); });
  if (found == context.devices.end())
    co_return Error{ErrorClass::device_not_found, fmt::format("Device '{}' not found", id)};
  if ((*found)->unplug_requested)
    co_return generic(fmt::format("Device {} is already in the process of unplug", id));
  (*found)->unplug_requested = true;  // the paused guest lets go at the next reset
  co_return Json::object();
}

Task<Result<Json>> system_reset(Context& context, Json) {
  context.events.emit("RESET", {{"guest", false}, {"reason", "host-qmp-system-reset"}});
  std::vector<std::unique_ptr<device::VirtioBlk>> gone;
  for (auto& device : context.devices)
    if (device->unplug_requested) gone.push_back(std::move(device));
  std::erase(context.devices, nullptr);
  for (const auto& device : gone) {
    (void)co_await device->flush();
    context.events.emit("DEVICE_DELETED", {{"path", device->qom_path() + "/virtio-backend"}});
    context.events.emit("DEVICE_DELETED", {{"device", device->id()}, {"path", device->qom_path()}});
  }
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{{"device_add", {}, true}, device_add},
    Command{{"device_del", kDel}, device_del},
    Command{{"system_reset", {}}, system_reset},
};

}  // namespace

std::span<const Command> device_commands() { return kCommands; }

}  // namespace sim::command
