// qom-list: what QOM has at the paths where a client finds its own objects and devices.

#include <fmt/format.h>

#include <array>

#include "sim/command/context.h"

namespace sim::command {

namespace {

Json child(const std::string& name, std::string_view type) {
  return {{"name", name}, {"type", fmt::format("child<{}>", type)}};
}

void list_objects(const Context& context, Json& list) {
  if (context.can_suspend) list.push_back(child("pc.ram", "memory-backend-ram"));
  if (context.profile.monitors_are_objects)
    for (const std::string& id : context.monitors) list.push_back(child(id, "monitor-qmp"));
  for (const auto& [id, group] : context.graph.throttle_groups.objects)
    list.push_back(child(id, "throttle-group"));
  for (const auto& [id, secret] : context.graph.secrets) list.push_back(child(id, "secret"));
  for (const std::string& id : context.iothreads) list.push_back(child(id, "iothread"));
}

void list_devices(const Context& context, Json& list) {
  constexpr std::array<std::string_view, 4> kTypes = {"virtio-blk-pci", "scsi-hd", "scsi-cd",
                                                      "virtio-scsi-pci"};
  for (const auto& disk : context.devices)
    if (!disk->id().empty())
      list.push_back(child(disk->id(), kTypes[static_cast<std::size_t>(disk->model())]));
  for (const auto& controller : context.controllers)
    if (!controller->id.empty()) list.push_back(child(controller->id, "virtio-scsi-pci"));
}

bool is_object(const Context& context, const std::string& path) {
  constexpr std::string_view kObjects = "/objects/";
  if (!path.starts_with(kObjects)) return false;
  const std::string id = path.substr(kObjects.size());
  return context.graph.throttle_groups.objects.contains(id) || context.graph.secrets.contains(id) ||
         context.iothreads.contains(id) || id == "pc.ram";
}

Task<Result<Json>> qom_list(Context& context, Json arguments) {
  const std::string path = arguments["path"];
  Json list = Json::array({{{"name", "type"}, {"type", "string"}}});
  if (path == "/objects" || path == "objects") {
    list_objects(context, list);
  } else if (path == "/machine/peripheral" || path == "peripheral") {
    list_devices(context, list);
  } else if (path.empty()) {
    co_return Error{ErrorClass::generic, "Path '' is ambiguous"};
  } else if (path == "/" || path.starts_with("/machine") || path.starts_with("/chardevs") ||
             is_object(context, path)) {
    co_return Error{ErrorClass::generic,
                    fmt::format("understudy: the path '{}' is not in this version", path)};
  } else {
    co_return Error{ErrorClass::device_not_found, fmt::format("Device '{}' not found", path)};
  }
  co_return list;
}

constexpr std::array kCommands = {
    Command{"qom-list", qom_list},
};

}  // namespace

std::span<const Command> qom_commands() { return kCommands; }

}  // namespace sim::command
