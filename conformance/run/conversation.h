// What two targets said in one scenario with disks.

#pragma once

#include <vector>

#include "conformance/check/events.h"
#include "conformance/run/execution.h"

namespace conformance {

// Where the transcripts differ (check::compare_transcripts).  If one target has a domain of its
// own, which real libvirt starts in its own way, that is compared from the first call on, and what
// the calls answered and which events the domain had as well: the other's are our layer's.
std::vector<Divergence> compare_conversations(const Executed& left, const Executed& right,
                                              const check::Switched& off);

}  // namespace conformance
