// The JSON type of the whole house.  Objects keep their keys sorted, so that dumps are stable.

#pragma once

#include <nlohmann/json.hpp>

namespace sim {

using Json = nlohmann::json;

}  // namespace sim
