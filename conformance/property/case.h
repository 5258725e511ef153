// What every property draws: scenarios, and how they get smaller.

#pragma once

#include <rapidcheck/Gen.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "conformance/scenario/scenario.h"

namespace conformance::property {

inline constexpr std::array<std::string_view, 4> kProperties = {"block-copy", "domain", "pull",
                                                                "qmp"};

struct PlannedScenario {
  Scenario scenario;  // no call states an answer: the model judges
  // Why the model has no opinion on the call; such a case must be discarded.
  std::optional<std::string> unknown;
};

// Makes images fit again from which something was taken: writes end with the image, and what is
// not there backs nothing.
void repair(std::vector<Image>& images);

// Cases of the property of this name (one of kProperties); they shrink to smaller ones.  Each has
// the id "explore/NAME".
rc::Gen<PlannedScenario> cases_of(std::string_view property);

}  // namespace conformance::property
