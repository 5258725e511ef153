// Rules of driver `blkdebug` as its configuration files and options spell them.

#pragma once

#include <string>
#include <string_view>

#include "sim/base/json.h"
#include "sim/base/result.h"
#include "sim/profile/profile.h"

namespace sim::driver {

// The rules of a file in QEMU's ini form: sections [inject-error] and [set-state] with lines of
// `name = "value"`.  The result has the lists "inject-error" and "set-state", their members as in
// QAPI's BlockdevOptionsBlkdebug; names of events and types are not looked at.  Errors have the
// release's texts.
Result<Json> parse_blkdebug_config(std::string_view text, const Profile& profile);

// True for a name of QAPI's BlkdebugEvent.
bool is_blkdebug_event(std::string_view name);
// True for one that is raised here at QEMU's moments.
bool is_raised_here(std::string_view name);

}  // namespace sim::driver
