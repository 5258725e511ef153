// File descriptors that a client passes: none ever comes with a request here, so all that is left
// is what QEMU says of that.

#include <fmt/format.h>

#include <array>

#include "sim/command/context.h"

namespace sim::command {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

Task<Result<Json>> take_descriptor(Context& /*context*/, Json /*arguments*/) {
  co_return generic("No file descriptor supplied via SCM_RIGHTS");
}

Task<Result<Json>> closefd(Context& /*context*/, Json arguments) {
  co_return generic(
      fmt::format("File descriptor named '{}' not found", arguments["fdname"].get<std::string>()));
}

Task<Result<Json>> remove_fd(Context& /*context*/, Json arguments) {
  std::string name = fmt::format("fdset-id:{}", arguments["fdset-id"].dump());
  if (arguments.contains("fd")) name += fmt::format(", fd:{}", arguments["fd"].dump());
  co_return generic(fmt::format("File descriptor named '{}' not found", name));
}

Task<Result<Json>> query_fdsets(Context& /*context*/, Json /*arguments*/) {
  co_return Json::array();
}

constexpr std::array kCommands = {
    Command{"add-fd", take_descriptor}, Command{"closefd", closefd},
    Command{"getfd", take_descriptor},  Command{"query-fdsets", query_fdsets},
    Command{"remove-fd", remove_fd},
};

}  // namespace

std::span<const Command> descriptor_commands() { return kCommands; }

}  // namespace sim::command
