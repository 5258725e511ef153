// What came of one scenario on one target, and the collection of it that reports walk.

#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace conformance {

enum class Verdict : unsigned char {
  conforms,
  diverges,
  known,    // an expected divergence, with its reason
  skipped,  // with its reason
  broken,   // the harness failed
};
inline constexpr std::array<std::string_view, 5> kVerdictNames = {"conforms", "diverges", "known",
                                                                  "skipped", "broken"};
constexpr std::string_view name_of(Verdict verdict) {
  return kVerdictNames[static_cast<std::size_t>(verdict)];
}

enum class DivergenceClass : unsigned char {
  none,
  data,
  chain,
  events,
  error,
  wording,
  allocation,
  hang,
  crash,
};
inline constexpr std::array<std::string_view, 9> kClassNames = {
    "", "data", "chain", "events", "error", "wording", "allocation", "hang", "crash"};
constexpr std::string_view name_of(DivergenceClass divergence_class) {
  return kClassNames[static_cast<std::size_t>(divergence_class)];
}

// One thing that was not as it had to be.
struct Divergence {
  DivergenceClass divergence_class = DivergenceClass::none;
  std::string requirement;  // one sentence: what must be true, and its source
  std::string expected;
  std::string actual;
  std::string place;  // the step ("step 3: blockJobAbort"), layer or byte it was seen at
};

struct ScenarioResult {
  std::string id;
  std::string target;
  Verdict verdict = Verdict::conforms;
  std::vector<Divergence> divergences;  // empty when it conforms; the first names the class
  std::string detail;  // one line: the first divergence, or why known/skipped/broken
  std::string again;   // the command that repeats exactly this
  std::vector<std::string> transcript;  // lines around the first divergence; empty if it conforms
  std::uint64_t trace_hash = 0;         // 0 on real QEMU
  double seconds = 0;

  DivergenceClass divergence_class() const {
    return divergences.empty() ? DivergenceClass::none : divergences.front().divergence_class;
  }
};

struct TargetInfo {
  std::string name;
  std::string version;
};

struct Totals {
  std::array<std::uint64_t, kVerdictNames.size()> by_verdict{};
  std::uint64_t of(Verdict verdict) const { return by_verdict[static_cast<std::size_t>(verdict)]; }
  std::uint64_t all() const;
};

// Everything one invocation found out.  `results` are sorted by id, then target.
struct RunResult {
  std::string version;  // of Understudy
  std::uint64_t seed = 0;
  std::vector<TargetInfo> targets;
  std::vector<std::string> normalisations;  // names of those that were on
  std::vector<ScenarioResult> results;
  std::vector<std::string> stale_expectations;  // known divergences that no longer show
  double seconds = 0;

  Totals totals() const;
  // cli.md: 3 if anything is broken, else 1 if anything diverges or an expectation is stale, else
  // 0.
  int exit_code() const;
};

}  // namespace conformance
