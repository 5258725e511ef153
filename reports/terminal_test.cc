#include "reports/terminal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "reports/example.h"

namespace reports {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kFailures = R"(known divergences that no longer show: remove them
  qemu 7.2: a/four

diverges a/one on qemu
  data        the guest reads what it wrote (model.md)
  expected    9*64k
  actual      0*64k
              9*1k
  at          byte 65536, layer "copy"
  wording     <same> text & class
  expected    a
  actual      b
  transcript  -> job-complete {}
              <- {"return": {}}
  again: understudy run --seed 7 --target qemu a/one

broken a/three on qemu
  reason      cannot start: \x1b[31m)"
                                  "\uFFFD"
                                  R"(
  again: understudy run a/three
)";

TEST(Summary, AsWritten) {
  EXPECT_EQ(summary(example_run(), {.colour = false}),
            std::string(R"(target   version  conforms  diverges     known   skipped    broken
qemu     7.2.22          0         1         1         0         1
sim:7.2  0.1.0           1         0         0         1         0
5 results in 1.2 s, seed 7

known
       1 x qemu: 5.2 forgets READY

skipped
       1 x sim:7.2: no #1 reason

)") + kFailures);
}

TEST(Summary, QuietShowsFailuresOnly) {
  EXPECT_EQ(summary(example_run(), {.colour = false, .quiet = true}), kFailures);
  conformance::RunResult fine = example_run();
  std::erase_if(fine.results, [](const conformance::ScenarioResult& result) {
    return result.verdict == conformance::Verdict::diverges ||
           result.verdict == conformance::Verdict::broken;
  });
  fine.stale_expectations.clear();
  EXPECT_EQ(summary(fine, {.colour = true, .quiet = true}), "");
}

TEST(Summary, ColourIsForVerdictsThatHappened) {
  const std::string text = summary(example_run(), {.colour = true});
  EXPECT_THAT(text, HasSubstr("sim:7.2  0.1.0    \x1b[32m       1\x1b[0m         0         0"));
  EXPECT_THAT(text, HasSubstr("\x1b[31mdiverges\x1b[0m \x1b[1ma/one\x1b[0m on qemu\n"));
  EXPECT_THAT(text, EndsWith("  again: understudy run a/three\n"));
  EXPECT_THAT(summary(example_run(), {.colour = false}), Not(HasSubstr("\x1b")));
}

TEST(Summary, ManyFailuresAreCounted) {
  const std::string text =
      summary(example_run(), {.colour = false, .quiet = true, .failures_max = 1});
  EXPECT_THAT(text, HasSubstr("\n2 failures; the first 1:\n"));
  EXPECT_THAT(text, EndsWith("  again: understudy run --seed 7 --target qemu a/one\n"));
}

TEST(Progress, OneLineThatIsOverwritten) {
  std::ostringstream out;
  Progress progress(out, true, 24);
  const conformance::RunResult run = example_run();
  progress.start(2);
  progress.add(run.results[1]);
  progress.add(run.results[0]);
  progress.finish();
  EXPECT_EQ(out.str(), "\r\x1b[K1/2  a/one\r\x1b[K2/2  1 failed  a/one\r\x1b[K");
}

TEST(Progress, FitsTheLineAndIsSeldom) {
  std::ostringstream out;
  Progress progress(out, true, 10);
  conformance::ScenarioResult result = example_run().results[1];
  result.id = "a/very/long/id";
  progress.start(1000);  // shown every fifth
  for (int i = 0; i < 6; ++i) progress.add(result);
  EXPECT_EQ(out.str(), "\r\x1b[K5/1000  a");
}

TEST(Progress, NothingWithoutATerminal) {
  std::ostringstream out;
  Progress progress(out, false, 80);
  progress.start(1);
  progress.add(example_run().results[0]);
  progress.finish();
  EXPECT_EQ(out.str(), "");
}

}  // namespace
}  // namespace reports
