// Random pulls as proposed, of one disk: increments at any cursor with the guest's I/O in between,
// or the same with one pull in the background instead.

#pragma once

#include <rapidcheck/Gen.h>

#include <variant>
#include <vector>

#include "conformance/model/domain_model.h"
#include "conformance/property/case.h"
#include "conformance/scenario/scenario.h"

namespace conformance::property {

struct PullCase {
  using Cursor = std::uint64_t;  // bytes; beyond the end: a call that is refused
  std::vector<Image> images;     // bottom first, each on the one before; vda uses the last
  std::vector<std::variant<GuestStep, Cursor>> actions;
  std::size_t background = 0;  // before which action the pull in the background begins
};

enum class PullForm : unsigned char { increments, background };

struct PlannedPull {
  PlannedScenario planned;  // until nothing is beneath the disk's image; id "explore/pull"
  model::DomainModel end;   // what must be true then; its directory is "/dir"
};

// All increments of the case, and then as many as it takes; or one pull and no increment.
PlannedPull to_scenario(const PullCase& drawn, PullForm form);

// Chains of two to four images of any sizes and clusters; up to twelve actions.
rc::Gen<PullCase> pull_cases();

}  // namespace conformance::property
