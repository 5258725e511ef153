// The JUnit report, as CI systems read it.

#pragma once

#include <string>

#include "conformance/verdict/verdict.h"
#include "sim/base/result.h"

namespace reports {

// <testsuites> with a <testsuite> for each target and a <testcase> for each scenario: <failure> if
// it diverges, <error> if it is broken, <skipped>; a known divergence passes and says so in
// <system-out>.  Known divergences that no longer show fail in a suite "expectations".
std::string to_junit(const conformance::RunResult& run);

sim::Result<> write_junit(const conformance::RunResult& run, const std::string& path);

}  // namespace reports
