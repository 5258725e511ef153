// A scenario without disks: QMP commands whose replies, events and files are recorded, so that two
// targets of one release can be compared.

#pragma once

#include <string_view>

#include "conformance/run/execution.h"

namespace conformance {

// Does the steps and ends the session.  Divergences are what needs no other target to be seen: an
// `expect` that does not hold, an event that never comes, a crash.
Executed record(const Scenario& scenario, Session& session);

// True if a release ("7.2") is older than another; never for an empty one.
bool is_older(std::string_view release, std::string_view than);

// Two records of one scenario.  A crash in the same place is no difference: it is taken out of
// both.
std::vector<Divergence> compare_records(Executed& left, Executed& right,
                                        const check::Switched& off);

}  // namespace conformance
