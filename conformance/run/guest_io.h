// A scenario's guest and fault steps in the words of the guest, the model and the target.

#pragma once

#include <string>

#include "conformance/model/domain_model.h"
#include "conformance/scenario/scenario.h"
#include "conformance/target/hypervisor.h"
#include "conformance/target/target.h"

namespace conformance {

// Does what the step says, which is no read.
GuestResult<void> request(Guest& guest, const GuestStep& step);
// Tells the model that it was done.
void tell(model::DomainModel& model, const GuestStep& step);
// "a write", "a zero write", …
std::string doing(const GuestStep& step);

// `path` is that of the file which the step means.
FileFault to_fault(const FaultStep& step, std::string path);

}  // namespace conformance
