// One scenario on one target: does the steps, asks the model what must be true, and compares.

#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conformance/check/events.h"
#include "conformance/check/files.h"
#include "conformance/domain/domain.h"
#include "conformance/model/domain_model.h"
#include "conformance/scenario/scenario.h"
#include "conformance/target/target.h"
#include "conformance/target/transcript.h"
#include "conformance/verdict/verdict.h"

namespace conformance {

struct ExecutionOptions {
  SessionOptions session;
  check::Switched switched_off;  // normalisations
  bool hash_bytes = false;       // fill in Executed::bytes_hash
  std::string keep;              // copy images and transcript into this directory; empty: do not
};

// How `broken` begins when the model has nothing to say about a call that states no answer.
inline constexpr std::string_view kUnjudged = "the model cannot judge this: ";

struct Executed {
  std::vector<Divergence> divergences;
  std::string broken;           // the harness failed: why; empty if it did not
  std::string skipped;          // the target cannot do what a step asks for: why; empty if it can
  bool has_own_domain = false;  // Session::start_domain() started one
  Transcript transcript;
  std::string directory;  // what `${dir}` was
  std::uint64_t trace_hash = 0;
  std::uint64_t bytes_hash = 0;  // of all files at the end, if asked for
  // Of a transcript scenario: where the hypervisor crashed (empty: it did not), and what its files
  // are at the end, by name.
  std::string crash;
  std::map<std::string, std::string> files;
};

// Never fails otherwise: whatever goes wrong is in the result.
Executed execute(const Scenario& scenario, Target& target, const ExecutionOptions& options);

}  // namespace conformance
