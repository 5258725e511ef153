// Many scenarios on several targets, and what came of them.

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "conformance/run/execution.h"
#include "conformance/scenario/scenario.h"
#include "conformance/target/target.h"
#include "conformance/verdict/verdict.h"

namespace conformance {

// A divergence that is expected on one exact version (real-qemu/expectations/).
struct KnownDivergence {
  std::string scenario;  // an id, or a prefix that ends in "/*"
  DivergenceClass divergence_class = DivergenceClass::none;
  std::string because;
  std::string source;  // where it is written down, with the place in the file
  // Scenarios of the library that it concerns.  A part of them may conform, so that it no longer
  // shows is only said when so many have run.
  std::size_t members = 1;
};

// Whether the known divergence speaks of this scenario.
bool concerns(const KnownDivergence& known, const std::string& id);

// One target to run on.  Each worker opens its own.
struct TargetChoice {
  std::string name;
  std::string version;
  std::string release;  // "7.2"
  std::function<Outcome<std::unique_ptr<Target>>()> open;
  std::vector<KnownDivergence> known;
  std::string skip_because;  // not empty: nothing runs, every scenario is skipped for this reason
};

struct RunnerOptions {
  std::uint64_t seed = 1;
  unsigned jobs = 1;
  check::Switched switched_off;
  std::string keep;
  std::uint64_t seconds = 0;  // start no scenario after this long; 0: no limit
  // Compare the transcripts of a simulator and a real QEMU of its release, where both ran.
  bool compare_transcripts = true;
  // Once true (a signal handler may set it), no further scenario is started.
  const std::atomic<bool>* stop = nullptr;
  // Called with each result as it is there, from one thread at a time.
  std::function<void(const ScenarioResult&)> progress;
};

// Runs every scenario on every target; one that goes wrong never stops the others.
RunResult run_scenarios(const std::vector<Scenario>& scenarios,
                        const std::vector<TargetChoice>& targets, const RunnerOptions& options);

// The seed of one scenario: so that it does not depend on which others run.
std::uint64_t seed_of(std::uint64_t seed, const std::string& id);

// Whether `id` belongs to shard `index` of `count` (1-based): by a hash of seed and id.
bool in_shard(std::uint64_t seed, const std::string& id, unsigned index, unsigned count);

// A text with the run's private directory written as "${dir}".
std::string without_directory(std::string text, const Executed& executed);

// The last lines of a transcript, for a report.
std::vector<std::string> excerpt(const Executed& executed);

}  // namespace conformance
