// For the tests of this room: one run with every verdict.

#pragma once

#include "conformance/verdict/verdict.h"

namespace reports {

inline conformance::RunResult example_run() {
  using conformance::DivergenceClass;
  using conformance::Verdict;
  conformance::RunResult run;
  run.version = "0.1.0";
  run.seed = 7;
  run.seconds = 1.25;
  run.targets = {{"qemu", "7.2.22"}, {"sim:7.2", "0.1.0"}};
  run.normalisations = {"timestamps"};
  run.results = {
      {.id = "a/one",
       .target = "qemu",
       .verdict = Verdict::diverges,
       .divergences = {{DivergenceClass::data, "the guest reads what it wrote (model.md)", "9*64k",
                        "0*64k\n9*1k", "byte 65536, layer \"copy\""},
                       {DivergenceClass::wording, "<same> text & class", "a", "b", ""}},
       .detail = "the guest reads what it wrote",
       .again = "understudy run --seed 7 --target qemu a/one",
       .transcript = {"-> job-complete {}", "<- {\"return\": {}}"},
       .trace_hash = 0,
       .seconds = 0.5},
      {.id = "a/one",
       .target = "sim:7.2",
       .verdict = Verdict::conforms,
       .divergences = {},
       .detail = "",
       .again = "understudy run --seed 7 --target sim:7.2 a/one",
       .transcript = {},
       .trace_hash = 0xabc,
       .seconds = 0.25},
      {.id = "a/three",
       .target = "qemu",
       .verdict = Verdict::broken,
       .divergences = {},
       .detail = "cannot start: \x1b[31m\xff",
       .again = "understudy run a/three",
       .transcript = {},
       .seconds = 0},
      {.id = "a/two",
       .target = "qemu",
       .verdict = Verdict::known,
       .divergences = {{DivergenceClass::events, "READY comes first", "READY", "nothing", ""}},
       .detail = "5.2 forgets READY",
       .again = "understudy run a/two",
       .transcript = {},
       .seconds = 0.125},
      {.id = "a/two",
       .target = "sim:7.2",
       .verdict = Verdict::skipped,
       .divergences = {},
       .detail = "no #1 reason",
       .again = "understudy run a/two",
       .transcript = {},
       .seconds = 0}};
  run.stale_expectations = {"qemu 7.2: a/four"};
  return run;
}

}  // namespace reports
