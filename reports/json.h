// The JSON report: a contract, keys stay.

#pragma once

#include <string>

#include "conformance/verdict/verdict.h"
#include "sim/base/result.h"

namespace reports {

// {"understudy": version, "seed", "targets": [{"name", "version"}],
//  "totals": {"conforms", "diverges", "known", "skipped", "broken"},
//  "scenarios": [{"id", "target", "verdict", "class", "detail", "again", "seconds"}]}
// and beyond the contract "seconds", "exit_code", "normalisations", "stale_expectations", and in a
// scenario "trace_hash" (hexadecimal), "divergences" and "transcript" where there are any.
std::string to_json(const conformance::RunResult& run);

sim::Result<> write_json(const conformance::RunResult& run, const std::string& path);

}  // namespace reports
