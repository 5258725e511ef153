// query-status, query-migrate, stop, cont, system_reset, system_powerdown, system_wakeup.

#include <array>

#include "sim/command/context.h"
#include "sim/job/block_job.h"

namespace sim::command {

Task<void> drain_all(Context& context) {
  co_await context.graph.drain_all_begin();
  context.graph.drain_all_end();
  co_await context.world.scheduler.yield();
}

namespace {

Task<Result<Json>> query_status(Context& context, Json) {
  Json status = {{"status", kRunStateNames[std::size_t(context.run_state)]},
                 {"running", context.run_state == RunState::running}};
  if (context.profile.status_has_singlestep) status["singlestep"] = false;
  co_return status;
}

// Drains and flushes even if the machine is stopped already (measured on 5.2 to 11.1); what fails
// to be flushed is not told.
Task<Result<Json>> stop(Context& context, Json) {
  if (context.run_state == RunState::running) {
    context.run_state = RunState::paused;
    context.events.emit("STOP");
  }
  co_await drain_all(context);
  for (const auto& device : context.devices) (void)co_await device->backend().flush();
  co_return Json::object();
}

// Forgets the errors of disks and of jobs, though jobs stay paused.
Task<Result<Json>> cont(Context& context, Json) {
  for (const auto& device : context.devices) device->backend().io_status = block::IoStatus::ok;
  for (block::Backend* backend : context.graph.backends) backend->io_status = block::IoStatus::ok;
  for (const auto& job : context.jobs.all())
    if (job->is_block_job()) static_cast<job::BlockJob&>(*job).reset_io_status();
  if (context.run_state == RunState::running) co_return Json::object();
  context.run_state = RunState::running;
  context.events.emit("RESUME");
  co_return Json::object();
}

// A machine that was stopped is before its launch again.  Devices that were to be unplugged go.
Task<Result<Json>> system_reset(Context& context, Json) {
  if (context.run_state != RunState::running) context.run_state = RunState::prelaunch;
  if (!context.devices.empty()) co_await drain_all(context);
  context.events.emit("RESET", {{"guest", false}, {"reason", "host-qmp-system-reset"}});
  for (const auto& disk : context.devices) disk->set_tray(false);
  std::vector<const device::Disk*> gone;
  for (const auto& disk : context.devices)
    if (disk->unplug_requested ||
        (disk->controller != nullptr && disk->controller->unplug_requested))
      gone.push_back(disk.get());
  for (const device::Disk* disk : gone) co_await unplug(context, disk);
  for (const auto& controller : context.controllers) {
    if (!controller->unplug_requested) continue;
    context.events.emit("DEVICE_DELETED", {{"path", controller->path + "/virtio-backend"}});
    Json data = {{"path", controller->path}};
    if (!controller->id.empty()) data["device"] = controller->id;
    context.events.emit("DEVICE_DELETED", std::move(data));
  }
  std::erase_if(context.controllers, [](const auto& it) { return it->unplug_requested; });
  co_return Json::object();
}

Task<Result<Json>> system_powerdown(Context& context, Json) {
  context.events.emit("POWERDOWN");
  co_return Json::object();
}

// No guest of ours ever sleeps.
Task<Result<Json>> system_wakeup(Context& context, Json) {
  co_return Error{ErrorClass::generic, context.can_suspend
                                           ? "Unable to wake up: guest is not in suspended state"
                                           : "wake-up from suspend is not supported by this guest"};
}

// Nothing is ever migrated, but saving the machine's state counts (measured on 5.2 to 11.1).  What
// is told of its memory is that of a machine without any.
Task<Result<Json>> query_migrate(Context& context, Json) {
  if (!context.state_was_saved) co_return Json::object();
  co_return Json{{"status", "completed"}, {"total-time", 0}, {"downtime", 0}, {"setup-time", 0}};
}

constexpr std::array kCommands = {
    Command{"cont", cont},
    Command{"query-migrate", query_migrate},
    Command{"query-status", query_status},
    Command{"stop", stop},
    Command{"system_powerdown", system_powerdown},
    Command{"system_reset", system_reset},
    Command{"system_wakeup", system_wakeup},
};

}  // namespace

std::span<const Command> run_state_commands() { return kCommands; }

}  // namespace sim::command
