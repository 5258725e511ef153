// Finding scenario files and reading them.

#pragma once

#include <string>
#include <vector>

#include "conformance/cli/usage_error.h"
#include "conformance/scenario/load.h"

namespace cli {

// Where scenarios/ is: $UNDERSTUDY_SCENARIOS, or the source tree this program was built from.
std::string scenario_root();

// Loads what the arguments name: ids ("matrix/block-copy/src=raw/…"), groups ("matrix"), or files
// (a path that exists or ends in ".json"); without arguments, everything beneath the root.  Sorted
// by id.  An argument that names nothing is an error.
Expected<conformance::LoadedFile> load_named(const std::vector<std::string>& arguments);

}  // namespace cli
