// A scenario's API call, made on a domain and on the model.

#pragma once

#include <string>
#include <string_view>

#include "conformance/model/domain_model.h"
#include "conformance/scenario/scenario.h"
#include "conformance/target/domain_api.h"

namespace conformance {

// As the scenario's files spell it: "blockRebase".
std::string_view api_name(CallStep::Api api);

// The call with "${dir}" replaced wherever it can stand.
CallStep in_directory(const CallStep& call, const std::string& directory);

// What a call answered that has more to say than that it was done.
using CallAnswer = std::optional<PullPosition>;

// Both take the result of in_directory().
DomainResult<CallAnswer> make_call(DomainApi& domain, const CallStep& call);
model::CallPrediction predict_call(model::DomainModel& model, const CallStep& call);

}  // namespace conformance
