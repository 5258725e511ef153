// The release's row, under the names that this room used.

#pragma once

#include "sim/profile/profile.h"

namespace sim::qmp {
using sim::find_profile;
using sim::kProfiles;
using sim::Profile;
}  // namespace sim::qmp
