#include "reports/tap.h"

#include <gtest/gtest.h>

#include "reports/example.h"

namespace reports {
namespace {

TEST(TapReport, AsWritten) {
  EXPECT_EQ(to_tap(example_run()), R"tap(TAP version 13
1..6
not ok 1 - qemu a/one
  ---
  verdict: diverges
  detail: "the guest reads what it wrote"
  divergences:
    - class: data
      requirement: "the guest reads what it wrote (model.md)"
      expected: "9*64k"
      actual: "0*64k\n9*1k"
      place: "byte 65536, layer \"copy\""
    - class: wording
      requirement: "<same> text & class"
      expected: "a"
      actual: "b"
      place: ""
  transcript:
    - "-> job-complete {}"
    - "<- {\"return\": {}}"
  again: "understudy run --seed 7 --target qemu a/one"
  ...
ok 2 - sim:7.2 a/one
not ok 3 - qemu a/three
  ---
  verdict: broken
  detail: "cannot start: \u001b[31m)tap"
                                   "\uFFFD"
                                   R"tap("
  again: "understudy run a/three"
  ...
not ok 4 - qemu a/two # TODO known: 5.2 forgets READY
ok 5 - sim:7.2 a/two # SKIP no \#1 reason
not ok 6 - a known divergence no longer shows: qemu 7.2: a/four
)tap");
}

TEST(TapReport, NothingRan) { EXPECT_EQ(to_tap({}), "TAP version 13\n1..0\n"); }

}  // namespace
}  // namespace reports
