// A scenario's directory and disks as the model is told of them.

#pragma once

#include <functional>
#include <optional>
#include <string>

#include "conformance/model/domain_model.h"
#include "conformance/scenario/scenario.h"

namespace conformance {

// The length in bytes of a file of the scenario on its host, or nothing if it is not known (yet).
using HostLength = std::function<std::optional<std::uint64_t>(const std::string& file)>;

// Images with what was written into them, then disks, then who else uses what.
void describe(const Scenario& scenario, const HostLength& host_length, model::DomainModel& model);

// The flags of a call as libvirt's bits.
std::uint32_t bits_of(const CallStep& call);

}  // namespace conformance
