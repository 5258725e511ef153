// Search by random cases: until something diverges, the cases are done, or the time is up.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "conformance/property/case.h"
#include "conformance/run/runner.h"
#include "conformance/scenario/scenario.h"
#include "conformance/verdict/verdict.h"

namespace conformance::property {

struct ExploreOptions {
  std::string property = "block-copy";  // one of kProperties
  std::uint64_t seed = 1;
  std::uint64_t cases = 100;  // that are judged; those without a verdict are drawn anew
  std::uint64_t seconds = 0;  // not 0: as many cases as fit into so long, instead
  // Every case runs on the first (a simulator, as a rule), one in `shared_one_in` of them, drawn
  // from the seed, on the others as well.  Each is opened once.
  std::vector<TargetChoice> targets;
  unsigned shared_one_in = 20;
  check::Switched switched_off;  // normalisations
  // Where a found scenario is written.  What is there is never touched: found.json, found-2.json, …
  std::string output = "found.json";
  std::string keep;  // as RunnerOptions::keep, of the found scenario only
  // Ends of shrinking.  The tries decide but for a target that is very slow or hangs.
  std::uint64_t shrink_tries_max = 3000;
  std::uint64_t shrink_seconds_max = 300;
  std::function<void(std::uint64_t cases)> progress;  // after each case of the search
};

struct Found {
  Scenario scenario;  // shrunk; its id is what loading `file` gives it
  std::string file;
  std::uint64_t at_case = 0;  // the how manieth case it was found in
  std::uint64_t shrink_tries = 0;
  RunResult run;  // of the shrunk scenario; each `again` repeats it from the file
};

struct Explored {
  std::uint64_t cases = 0;
  std::uint64_t shared = 0;     // of these on the other targets as well
  std::uint64_t discarded = 0;  // the model had no opinion
  std::uint64_t unsteady = 0;   // failed, and did not when tried again
  std::optional<Found> found;
  std::string broken;  // the harness failed: why; empty if it did not
};

// The same seed, targets and number of cases find the same.
Explored explore(const ExploreOptions& options);

}  // namespace conformance::property
