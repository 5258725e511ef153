// JSON as QEMU's monitors write it: ASCII only, members in the order of its dictionary.

#pragma once

#include <string>

#include "sim/base/json.h"
#include "sim/profile/profile.h"

namespace sim::qmp {

enum class Style : unsigned char { line, pretty };  // pretty: -qmp-pretty

// Without an end of line; lines within end in "\n".  Always valid JSON, where QEMU would write
// "inf": such a number is the largest that there is.
std::string write_json(const Json& value, const Profile& profile, Style style = Style::line);

}  // namespace sim::qmp
