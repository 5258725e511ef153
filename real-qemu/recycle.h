// Using one QEMU process for many sessions.

#pragma once

#include <chrono>
#include <string_view>

#include "conformance/target/hypervisor.h"

namespace real_qemu {

// True for a command whose effects recycle() undoes: queries, nodes, jobs, bitmaps, devices, and
// HMP's `qemu-io` and `info`.  After any other, a machine is not used again.
bool can_be_undone(std::string_view command, const sim::Json& arguments);

// Takes a machine back to how it started: no jobs, no devices, no nodes, and the run state of -S.
// False if that did not work, or not within about `limit`: then the process should be ended.
// Takes events from the queue; what is left there is of no interest.
bool recycle(conformance::Hypervisor& qemu, std::chrono::milliseconds limit);

}  // namespace real_qemu
