// The Test Anything Protocol, version 13.

#pragma once

#include <string>

#include "conformance/verdict/verdict.h"

namespace reports {

// One test point for each result, named "TARGET ID": "not ok" with a YAML block if it diverges or
// is broken, "# SKIP", and "# TODO" for a known divergence, which TAP does not count as a failure.
// Then one for each known divergence that no longer shows.
std::string to_tap(const conformance::RunResult& run);

}  // namespace reports
