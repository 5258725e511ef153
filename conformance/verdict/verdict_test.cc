#include "conformance/verdict/verdict.h"

#include <gtest/gtest.h>

namespace conformance {
namespace {

RunResult with(std::initializer_list<Verdict> verdicts) {
  RunResult run;
  for (const Verdict verdict : verdicts) {
    ScenarioResult result;
    result.verdict = verdict;
    run.results.push_back(result);
  }
  return run;
}

TEST(Verdict, NamesAreTheContracts) {
  EXPECT_EQ(name_of(Verdict::conforms), "conforms");
  EXPECT_EQ(name_of(Verdict::diverges), "diverges");
  EXPECT_EQ(name_of(Verdict::known), "known");
  EXPECT_EQ(name_of(Verdict::skipped), "skipped");
  EXPECT_EQ(name_of(Verdict::broken), "broken");
  EXPECT_EQ(name_of(DivergenceClass::none), "");
  EXPECT_EQ(name_of(DivergenceClass::data), "data");
  EXPECT_EQ(name_of(DivergenceClass::crash), "crash");
}

TEST(Verdict, TotalsCountEachVerdict) {
  const Totals totals =
      with({Verdict::known, Verdict::conforms, Verdict::conforms, Verdict::skipped}).totals();
  EXPECT_EQ(totals.of(Verdict::conforms), 2);
  EXPECT_EQ(totals.of(Verdict::known), 1);
  EXPECT_EQ(totals.of(Verdict::skipped), 1);
  EXPECT_EQ(totals.of(Verdict::diverges), 0);
  EXPECT_EQ(totals.of(Verdict::broken), 0);
  EXPECT_EQ(totals.all(), 4);
}

// cli.md: 0 all conform, known divergences included; 1 a divergence, or a known one that no longer
// shows; 3 the harness or its surroundings failed.
TEST(Verdict, ExitCodes) {
  EXPECT_EQ(with({}).exit_code(), 0);
  EXPECT_EQ(with({Verdict::conforms, Verdict::known, Verdict::skipped}).exit_code(), 0);
  EXPECT_EQ(with({Verdict::conforms, Verdict::diverges}).exit_code(), 1);
  EXPECT_EQ(with({Verdict::diverges, Verdict::broken}).exit_code(), 3);
  RunResult stale = with({Verdict::conforms});
  stale.stale_expectations.push_back("qemu 7.2: …");
  EXPECT_EQ(stale.exit_code(), 1);
}

TEST(Verdict, TheFirstDivergenceNamesTheClass) {
  ScenarioResult result;
  EXPECT_EQ(result.divergence_class(), DivergenceClass::none);
  result.divergences = {{DivergenceClass::chain, "", "", "", ""},
                        {DivergenceClass::data, "", "", "", ""}};
  EXPECT_EQ(result.divergence_class(), DivergenceClass::chain);
}

}  // namespace
}  // namespace conformance
