#include "conformance/verdict/verdict.h"

namespace conformance {

std::uint64_t Totals::all() const {
  std::uint64_t sum = 0;
  for (const std::uint64_t count : by_verdict) sum += count;
  return sum;
}

Totals RunResult::totals() const {
  Totals totals;
  for (const ScenarioResult& result : results)
    ++totals.by_verdict[static_cast<std::size_t>(result.verdict)];
  return totals;
}

int RunResult::exit_code() const {
  const Totals sums = totals();
  if (sums.of(Verdict::broken) > 0) return 3;
  if (sums.of(Verdict::diverges) > 0 || !stale_expectations.empty()) return 1;
  return 0;
}

}  // namespace conformance
