// What a scenario must mean, beyond its shape: names exist, writes fit, nothing leaves ${dir}.

#pragma once

#include "conformance/scenario/matrix.h"

namespace conformance {

inline constexpr std::uint64_t kImageSizeMax = std::uint64_t{64} << 20;

// `scenario` was read from `draft`, which knows the places.
void check_meaning(const Scenario& scenario, const Draft& draft, FirstError& error);

}  // namespace conformance
