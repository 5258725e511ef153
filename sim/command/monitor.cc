// human-monitor-command.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/command/context.h"
#include "sim/command/hmp/info_block.h"
#include "sim/command/hmp/qemu_io.h"
#include "sim/command/hmp/snapshots.h"

namespace sim::command {

namespace {

// 5.2 and 7.2 look for a bin where block-latency-histogram-set was given no boundaries.
bool crashes(const block::Backend& backend, const std::string& verb) {
  const block::Accounting& counted = backend.accounting;
  const block::Accounting::Kind& kind = verb.starts_with("aio_flush")   ? counted.flush
                                        : verb.starts_with("aio_write") ? counted.write
                                                                        : counted.read;
  return verb.starts_with("aio_") && kind.histogram && kind.histogram->boundaries.empty();
}

Task<Result<Json>> run_on(Context& context, block::Backend& backend, std::string verb) {
  // Only what is active may be written to.
  if (backend.node() && backend.node()->inactive && !backend.node()->read_only &&
      (verb.starts_with("write") || verb.starts_with("discard"))) {
    context.crash = "a write to an inactive node";
    co_return Json("");
  }
  if (crashes(backend, verb)) context.crash = "a request is counted in a histogram without bins";
  const auto run = co_await hmp::run_qemu_io(backend, std::move(verb), context.standard_output);
  co_return Json(run ? "" : run.error().desc + "\r\n");
}

// `qemu-io -d QDEV`: through the device's own backend.
Task<Result<Json>> qemu_io_of_device(Context& context, std::string qdev, std::string verb) {
  const device::Disk* device = find_device(context, qdev);
  if (device == nullptr) co_return Json(fmt::format("Error: Device '{}' not found\r\n", qdev));
  if (device->label() != qdev && device->qom_path() != qdev)
    co_return Json("Error: Device does not have a block device backend\r\n");
  co_return co_await run_on(context, device->backend(), std::move(verb));
}

// `qemu-io NAME`: through the block device of that name, or through a backend of its own, for which
// the node is drained when it comes and when it goes.
Task<Result<Json>> qemu_io_of_node(Context& context, std::string name, std::string verb) {
  if (block::Backend* named = context.graph.find_backend(name))
    co_return co_await run_on(context, *named, std::move(verb));
  auto node = context.graph.find_device_or_node("", name);
  if (!node) co_return Json(fmt::format("Error: {}\r\n", node.error().desc));
  look_at(context, **node, "qemu-io");
  block::Backend backend(context.graph, "", {0, block::kAllPermissions});
  CO_TRY_OK(backend.insert(*node));
  co_await drain(context, *node);
  CO_TRY(Json answer, co_await run_on(context, backend, std::move(verb)));
  co_await drain(context, *node);
  co_return answer;
}

// HMP ends its lines for a terminal.
std::string for_terminal(std::string_view text) {
  std::string result;
  for (const char c : text) result += c == '\n' ? std::string("\r\n") : std::string(1, c);
  return result;
}

Task<Result<Json>> info(Context& context, std::vector<std::string> words) {
  const std::vector<std::string> rest(words.begin() + 2, words.end());
  CO_TRY(const std::string text, words[1] == "block"
                                     ? co_await hmp::info_block(context, rest)
                                     : co_await hmp::info_block_jobs(context, rest));
  co_return Json(for_terminal(text));
}

Task<Result<Json>> qemu_io(Context& context, std::vector<std::string> words) {
  if (words.size() == 4 && words[1] == "-d")
    co_return co_await qemu_io_of_device(context, words[2], words[3]);
  if (words.size() == 3) co_return co_await qemu_io_of_node(context, words[1], words[2]);
  co_return Error{ErrorClass::generic,
                  "understudy: only `qemu-io [-d] NAME \"verb …\"` is in this version"};
}

Task<Result<Json>> human_monitor_command(Context& context, Json arguments) {
  std::vector<std::string> words =
      hmp::split_words(arguments["command-line"].get_ref<const std::string&>());
  if (words.empty()) co_return Json("");
  if (words.front() == "qemu-io") co_return co_await qemu_io(context, std::move(words));
  if (auto text = co_await hmp::run_snapshots(context, words)) co_return Json(*std::move(text));
  if (words.size() > 1 && words[0] == "info" && (words[1] == "block" || words[1] == "block-jobs"))
    co_return co_await info(context, std::move(words));
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
