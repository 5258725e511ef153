// The JSON of a step, as it is sent and compared in one run.

#pragma once

#include <string>

#include "sim/base/json.h"

namespace conformance {

// Every member of `part` is in `whole` with that value, recursively; other values are equal.
bool has_members(const sim::Json& whole, const sim::Json& part);

// With this run's directory for "${dir}", anywhere in a text.
sim::Json in_directory(const sim::Json& json, const std::string& directory);

}  // namespace conformance
