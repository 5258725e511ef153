// device_add, device_del, system_reset.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "sim/base/text.h"
#include "sim/command/context.h"
#include "sim/driver/open.h"

namespace sim::command {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

// Models that QEMU has and this version has not; a name that is in no list is nobody's.
constexpr std::array<std::string_view, 12> kOtherModels = {
    "ide-cd",         "ide-hd",          "lsi53c895a",
    "nvme",           "pc-testdev",      "scsi-cd",
    "scsi-hd",        "usb-storage",     "virtio-blk-device",
    "virtio-net-pci", "virtio-scsi-pci", "virtio-serial-pci"};

// device_add takes any type and reads it as the text a command line would have.
std::string as_option(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

Result<> check_model(const std::string& driver) {
  if (driver == "virtio-blk-pci" || driver == "virtio-blk") return ok();
  if (std::ranges::find(kOtherModels, driver) != kOtherModels.end())
    return generic(fmt::format("understudy: device model '{}' is not in this version", driver));
  return generic(fmt::format("'{}' is not a valid device model name", driver));
}

// "SLOT" or "SLOT.FUNCTION" in hexadecimal digits, with or without 0x.
bool is_pci_address(std::string_view text) {
  const auto take = [&](unsigned most) {
    if (text.starts_with("0x")) text.remove_prefix(2);
    unsigned value = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return status == std::errc{} && value <= most;
  };
  if (!take(31)) return false;
  if (!text.starts_with('.')) return text.empty();
  text.remove_prefix(1);
  return take(7) && text.empty();
}

// virtio-blk-pci only; members it does not know are refused as QEMU refuses them.
Task<Result<Json>> device_add(Context& context, Json arguments) {
  const std::string id = arguments.contains("id") ? as_option(arguments["id"]) : "";
  if (arguments.contains("id") && !is_well_formed_id(id))
    co_return generic("Parameter 'id' expects an identifier");
  if (!arguments.contains("driver")) co_return generic("Parameter 'driver' is missing");
  CO_TRY_OK(check_model(as_option(arguments["driver"])));
  if (arguments.contains("bus") && arguments["bus"] != "pci.0")
    co_return generic(fmt::format("Bus '{}' not found", as_option(arguments["bus"])));
  for (const auto& device : context.devices)
    if (!id.empty() && device->id() == id)
      co_return generic(fmt::format("Duplicate device ID '{}'", id));
  for (const auto& [name, value] : arguments.items())
    if (name != "driver" && name != "id" && name != "drive" && name != "bus" && name != "addr" &&
        name != "bootindex")
      co_return generic(fmt::format("Property 'virtio-blk-pci.{}' not found", name));
  if (arguments.contains("addr") && !is_pci_address(as_option(arguments["addr"])))
    co_return generic(fmt::format("Property 'virtio-blk-pci.addr' doesn't take value '{}'",
                                  as_option(arguments["addr"])));
  if (arguments.value("drive", Json()).is_null()) co_return generic("drive property not set");
  const std::string drive = as_option(arguments["drive"]);
  const block::NodePtr node = context.graph.find(drive);
  if (!node)
    co_return generic(
        fmt::format("Property 'virtio-blk-device.drive' can't find value '{}'", drive));
  const unsigned number = ++context.anonymous_devices;
  auto backend = std::make_unique<block::Backend>(context.graph, "",
                                                  device::Disk::permission(node->read_only, false));
  auto disk =
      std::make_unique<device::Disk>(device::Model::virtio_blk, id, number, std::move(backend));
  CO_TRY_OK(disk->backend().insert(node));
  context.devices.push_back(std::move(disk));
  co_return Json::object();
}

Task<Result<Json>> device_del(Context& context, Json arguments) {
  const std::string id = arguments["id"].get<std::string>();
  if (id.empty() || id == "/" || id == "/machine" || id == "/machine/peripheral")
    co_return generic(fmt::format("{} is not a hotpluggable device", id));
  const auto found = std::ranges::find_if(context.devices, [&](const auto& device) {
    return id == (id.front() == '/' ? device->device_path() : device->id());
  });
  if (found == context.devices.end())
    co_return Error{ErrorClass::device_not_found, fmt::format("Device '{}' not found", id)};
  if ((*found)->unplug_requested)
    co_return generic(fmt::format("Device {} is already in the process of unplug", id));
  (*found)->unplug_requested = true;  // the paused guest lets go at the next reset
  co_return Json::object();
}

Task<Result<Json>> system_reset(Context& context, Json) {
  context.events.emit("RESET", {{"guest", false}, {"reason", "host-qmp-system-reset"}});
  std::vector<std::unique_ptr<device::Disk>> gone;
  for (auto& device : context.devices)
    if (device->unplug_requested) gone.push_back(std::move(device));
  std::erase(context.devices, nullptr);
  for (const auto& device : gone) {
    (void)co_await device->backend().flush();
    context.events.emit("DEVICE_DELETED", {{"path", device->qom_path()}});
    context.events.emit("DEVICE_DELETED",
                        {{"device", device->id()}, {"path", device->device_path()}});
  }
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{"device_add", device_add},
    Command{"device_del", device_del},
    Command{"system_reset", system_reset},
};

}  // namespace

std::span<const Command> device_commands() { return kCommands; }

}  // namespace sim::command
