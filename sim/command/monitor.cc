// human-monitor-command.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/command/context.h"
#include "sim/command/hmp/qemu_io.h"

namespace sim::command {

namespace {

Task<Result<Json>> qemu_io(Context& context, std::vector<std::string> words) {
  if (words.size() != 4 || words[1] != "-d")
    co_return Error{ErrorClass::generic,
                    "understudy: only `qemu-io -d QDEV \"verb …\"` is in this version"};
  const device::Disk* device = find_device(context, words[2]);
  if (device == nullptr) co_return Json(fmt::format("Error: Device '{}' not found\r\n", words[2]));
  if (device->qom_path() != words[2])
    co_return Json("Error: Device does not have a block device backend\r\n");
  co_await hmp::run_qemu_io(device->backend(), words[3], context.standard_output);
  co_return Json("");
}

Task<Result<Json>> human_monitor_command(Context& context, Json arguments) {
  std::vector<std::string> words =
      hmp::split_words(arguments["command-line"].get_ref<const std::string&>());
  if (words.empty()) co_return Json("");
  if (words.front() == "qemu-io") co_return co_await qemu_io(context, std::move(words));
  co_return Error{
      ErrorClass::generic,
      fmt::format("understudy: HMP command '{}' is not in this version", words.front())};
}

constexpr std::array kCommands = {
    Command{"human-monitor-command", human_monitor_command},
};

}  // namespace

std::span<const Command> monitor_commands() { return kCommands; }

}  // namespace sim::command
