#include "sim/tool/invocation.h"

#include <fmt/format.h>

namespace sim::tool {

Invocation::Invocation(const Surroundings& surroundings, World& world, std::string command,
                       std::vector<std::string> arguments)
    : surroundings_(surroundings),
      context_{world, surroundings.files, surroundings.working_directory, {}, {}},
      command_(std::move(command)),
      arguments_(std::move(arguments)) {}

void Invocation::complain(std::string_view text) const {
  surroundings_.err(fmt::format("understudy image: {}\n", text));
}

int Invocation::fail(std::string_view text, int code) const {
  complain(text);
  return code;
}

}  // namespace sim::tool
