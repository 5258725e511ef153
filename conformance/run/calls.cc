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

DomainResult<void> make_call(DomainApi& domain, const CallStep& call) {
  const std::uint32_t flags = bits_of(call);
  using enum CallStep::Api;
  switch (call.api) {
    case block_rebase:
      return domain.block_rebase(call.disk, call.base, call.bandwidth, flags);
    case block_pull:
      return domain.block_pull(call.disk, call.bandwidth, flags);
    case block_commit:
      return domain.block_commit(call.disk, call.base, call.top, call.bandwidth, flags);
    case block_job_abort:
      return domain.block_job_abort(call.disk, flags);
    case block_job_set_speed:
      return domain.block_job_set_speed(call.disk, call.bandwidth, flags);
  }
  std::unreachable();
}

model::CallPrediction predict_call(model::DomainModel& model, const CallStep& call) {
  const std::uint32_t flags = bits_of(call);
  using enum CallStep::Api;
  switch (call.api) {
    case block_rebase:
      return model.block_rebase(call.disk, call.base, call.bandwidth, flags);
    case block_pull:
      return model.block_pull(call.disk, call.bandwidth, flags);
    case block_commit:
      return model.block_commit(call.disk, call.base, call.top, call.bandwidth, flags);
    case block_job_abort:
      return model.block_job_abort(call.disk, flags);
    case block_job_set_speed:
      return model.set_speed(call.disk, call.bandwidth, flags);
  }
  std::unreachable();
}

}  // namespace conformance
