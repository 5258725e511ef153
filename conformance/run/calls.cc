#include "conformance/run/calls.h"

#include <array>
#include <utility>

#include "conformance/run/describe.h"
#include "conformance/scenario/read.h"
#include "sim/base/text.h"

namespace conformance {

std::string_view api_name(CallStep::Api api) { return kApiNames[std::to_underlying(api)]; }

CallStep in_directory(const CallStep& call, const std::string& directory) {
  CallStep result = call;
  for (std::string* text :
       {&result.disk, result.base ? &*result.base : nullptr, result.top ? &*result.top : nullptr})
    if (text != nullptr) *text = sim::replace_all(*text, "${dir}", directory);
  return result;
}

// Domain and model have the same calls.
template <class Callee>
static auto call_on(Callee& callee, const CallStep& call) {
  const std::uint32_t flags = bits_of(call);
  using enum CallStep::Api;
  switch (call.api) {
    case block_rebase:
      return callee.block_rebase(call.disk, call.base, call.bandwidth, flags);
    case block_pull:
      return callee.block_pull(call.disk, call.bandwidth, flags);
    case block_commit:
      return callee.block_commit(call.disk, call.base, call.top, call.bandwidth, flags);
    case block_job_abort:
      return callee.block_job_abort(call.disk, flags);
    case block_job_set_speed:
      return callee.block_job_set_speed(call.disk, call.bandwidth, flags);
  }
  std::unreachable();
}

DomainResult<void> make_call(DomainApi& domain, const CallStep& call) {
  return call_on(domain, call);
}
model::CallPrediction predict_call(model::DomainModel& model, const CallStep& call) {
  return call_on(model, call);
}

}  // namespace conformance
