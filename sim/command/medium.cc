// Trays and what lies in them: eject, blockdev-open-tray, blockdev-change-medium, …

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/command/context.h"
#include "sim/driver/name.h"

namespace sim::command {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

// A block device without a guest's device is as good as a removable one.
bool is_removable(const block::Backend& backend) {
  return backend.device == nullptr || backend.device->has_removable_media();
}
bool has_tray(const block::Backend& backend) {
  return backend.device != nullptr && backend.device->has_removable_media();
}

// As the client called it.
std::string name_in(const Json& arguments) {
  return arguments[arguments.contains("id") ? "id" : "device"].get<std::string>();
}

void move_tray(Context& context, block::Backend& backend, bool open) {
  if (!has_tray(backend) || backend.device->is_tray_open() == open) return;
  backend.device->set_tray(open);
  context.events.emit(
      "DEVICE_TRAY_MOVED",
      {{"device", backend.name()}, {"id", backend.device->label()}, {"tray-open", open}});
}

// It is no matter if there is none.
Result<block::Backend*> open_tray(Context& context, const Json& arguments) {
  TRY(block::Backend * backend, backend_of(context, arguments));
  if (!is_removable(*backend))
    return generic(fmt::format("Device '{}' is not removable", name_in(arguments)));
  move_tray(context, *backend, true);
  return backend;
}

Task<Result<>> remove_medium(block::Backend& backend, std::string name) {
  if (!is_removable(backend)) co_return generic(fmt::format("Device '{}' is not removable", name));
  if (has_tray(backend) && !backend.device->is_tray_open())
    co_return generic(fmt::format("Tray of device '{}' is not open", name));
  const block::NodePtr node = backend.node();
  if (!node) co_return ok();
  CO_TRY_OK(node->check_allowed(block::Op::eject));
  backend.medium_is_read_only = node->read_only;
  co_await node->graph().drain_begin(node);
  backend.remove();
  node->graph().drain_end(*node);
  co_return ok();
}

Result<> insert_medium(block::Backend& backend, const block::NodePtr& node) {
  if (!is_removable(backend)) return generic("Device is not removable");
  if (has_tray(backend) && !backend.device->is_tray_open())
    return generic("Tray of the device is not open");
  if (backend.node()) return generic("There already is a medium in the device");
  return backend.insert(node);
}

Task<Result<Json>> blockdev_open_tray(Context& context, Json arguments) {
  CO_TRY_OK(open_tray(context, arguments));
  co_return Json::object();
}

Task<Result<Json>> blockdev_close_tray(Context& context, Json arguments) {
  CO_TRY(block::Backend * backend, backend_of(context, arguments));
  if (!is_removable(*backend))
    co_return generic(fmt::format("Device '{}' is not removable", name_in(arguments)));
  move_tray(context, *backend, false);
  co_return Json::object();
}

Task<Result<Json>> blockdev_remove_medium(Context& context, Json arguments) {
  CO_TRY(block::Backend * backend, backend_of(context, arguments));
  CO_TRY_OK(co_await remove_medium(*backend, name_in(arguments)));
  co_return Json::object();
}

Task<Result<Json>> blockdev_insert_medium(Context& context, Json arguments) {
  CO_TRY(block::Backend * backend, backend_of(context, arguments));
  const std::string name = arguments["node-name"];
  const block::NodePtr node = context.graph.find(name);
  if (!node) co_return generic(fmt::format("Node '{}' not found", name));
  if (std::ranges::any_of(context.graph.backends,
                          [&](const block::Backend* it) { return it->node() == node; }))
    co_return generic(fmt::format("Node '{}' is already in use", name));
  CO_TRY_OK(insert_medium(*backend, node));
  co_return Json::object();
}

Task<Result<Json>> eject(Context& context, Json arguments) {
  CO_TRY(block::Backend * backend, open_tray(context, arguments));
  CO_TRY_OK(co_await remove_medium(*backend, name_in(arguments)));
  co_return Json::object();
}

// What is in the file, as a node without a name.
Task<Result<block::NodePtr>> open_medium(Context& context, const block::Backend& backend,
                                         const Json& arguments) {
  const std::string mode = arguments.value("read-only-mode", "retain");
  const std::string file = arguments["filename"];
  const std::string format = arguments.value("format", "");
  if (file.empty() && format.empty())
    co_return generic("The 'file' block driver requires a file name");
  Json given = Json::object();
  if (!format.empty()) given["driver"] = format;
  const bool read_only = mode == "retain" ? backend.medium_is_read_only : mode == "read-only";
  co_return co_await driver::open_named(context.graph, file, std::move(given),
                                        {{"read-only", read_only}});
}

Task<Result<>> change(Context& context, Json arguments) {
  CO_TRY(block::Backend * backend, backend_of(context, arguments));
  if (backend->node()) backend->medium_is_read_only = backend->node()->read_only;
  CO_TRY(const block::NodePtr node, co_await open_medium(context, *backend, arguments));
  CO_TRY_OK(open_tray(context, arguments));
  CO_TRY_OK(co_await remove_medium(*backend, name_in(arguments)));
  co_await context.graph.collect();  // the image may be the same
  CO_TRY_OK(insert_medium(*backend, node));
  move_tray(context, *backend, false);
  co_return ok();
}

Task<Result<Json>> blockdev_change_medium(Context& context, Json arguments) {
  CO_TRY_OK(co_await change(context, std::move(arguments)));
  co_return Json::object();
}

// 5.2: `target` is a file, `arg` its format; the device "vnc" is none.
Task<Result<Json>> change_by_name(Context& context, Json arguments) {
  if (arguments["device"] == "vnc") co_return generic("understudy: VNC is not in this version");
  Json medium = {{"device", arguments["device"]}, {"filename", arguments["target"]}};
  if (arguments.contains("arg")) medium["format"] = arguments["arg"];
  CO_TRY_OK(co_await change(context, std::move(medium)));
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{"blockdev-change-medium", blockdev_change_medium},
    Command{"blockdev-close-tray", blockdev_close_tray},
    Command{"blockdev-insert-medium", blockdev_insert_medium},
    Command{"blockdev-open-tray", blockdev_open_tray},
    Command{"blockdev-remove-medium", blockdev_remove_medium},
    Command{"change", change_by_name},
    Command{"eject", eject},
};

}  // namespace

std::span<const Command> medium_commands() { return kCommands; }

}  // namespace sim::command
