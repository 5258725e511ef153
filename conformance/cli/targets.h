// From --target to something that scenarios run on.

#pragma once

#include <string>
#include <vector>

#include "conformance/cli/usage_error.h"
#include "conformance/run/runner.h"

namespace cli {

struct TargetRequest {
  std::vector<std::string> specs;        // as given; empty: `sim` and every real QEMU found
  std::vector<std::string> allow_skips;  // "no-qemu", "no-qemu-version"
};

// A target that is not there is a Failure with its cure, or skipped if that is allowed by name.
Expected<std::vector<conformance::TargetChoice>> choose_targets(const TargetRequest& request);

}  // namespace cli
