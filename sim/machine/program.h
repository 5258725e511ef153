// The program `understudy-qemu`, also `understudy qemu`.

#pragma once

#include <span>
#include <string>

namespace sim::machine {

// Runs a machine until it is told to end.  `program` is argv[0]; the value is the exit code: 0, or
// 1 if the command line or what it names is refused.
int run_program(const std::string& program, std::span<const std::string> arguments);

}  // namespace sim::machine
