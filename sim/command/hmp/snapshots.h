// HMP's savevm, loadvm, delvm and `info snapshots`.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/command/context.h"

namespace sim::command::hmp {

// What the command prints, lines ending as the monitor's do; nothing if it is none of these.
Task<std::optional<std::string>> run_snapshots(Context& context, std::vector<std::string> words);

}  // namespace sim::command::hmp
