// Writing down what was found.

#pragma once

#include <string>

#include "conformance/scenario/scenario.h"
#include "sim/base/result.h"

namespace conformance::property {

// Writes the scenario to `path`, or, where something is there already, to the first free one of
// path-2, path-3, … (before the suffix).  The file appears whole or not at all.  Gives its path.
sim::Result<std::string> write_found(const Scenario& scenario, const std::string& path);

// The id that `understudy run` gives to a scenario in this file.
std::string id_of(const std::string& path);

// As one word of a shell's command line.
std::string quoted_for_shell(const std::string& word);

}  // namespace conformance::property
