// One random conversation in QMP: images, and commands upon them, good and bad.  Nothing predicts
// the answers: a simulator and a real QEMU of its release must give the same.

#pragma once

#include <rapidcheck/Gen.h>

#include <vector>

#include "conformance/property/case.h"
#include "conformance/scenario/scenario.h"

namespace conformance::property {

struct QmpCase {
  std::vector<Image> images;  // backing images before those that use them
  std::vector<QmpStep> steps;
};

// After each command that may move a job the scenario waits until none moves: what a running job
// has done when asked is not the same twice.
PlannedScenario to_scenario(const QmpCase& drawn);

// A chain of up to four images and two others; the nodes over them, good ones as a rule; then up to
// 14 commands on nodes, jobs, bitmaps and a device, most of which name what is there.
rc::Gen<QmpCase> qmp_cases();

// All ways to take commands, members of their arguments, and contents of images away, the boldest
// first.
std::vector<QmpCase> smaller(const QmpCase& from);

}  // namespace conformance::property
