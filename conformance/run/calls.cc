#include "conformance/run/calls.h"

#include <array>
#include <charconv>
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

// Domain and model have the same calls, but for the pull as proposed and a base by document.
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
    case pull_all:
      return callee.pull_all(call.disk);
    case pull_abort:
      return callee.pull_abort(call.disk);
    case pull:
    case pull_info:
      break;
  }
  std::unreachable();
}

DomainResult<CallAnswer> make_call(DomainApi& domain, const CallStep& call) {
  if (call.api == CallStep::Api::pull) return domain.pull(call.disk, call.cursor, bits_of(call));
  if (call.api == CallStep::Api::pull_info) return domain.pull_info(call.disk);
  auto done = call_on(domain, call);
  if (!done) return std::unexpected(std::move(done).error());
  return std::nullopt;
}

// The value, in single quotes, of an attribute of the first such element; empty if it is not there.
static std::string attribute(const std::string& document, const std::string& element,
                             const std::string& name) {
  const std::size_t begin = document.find("<" + element + " ");
  const std::size_t end = document.find('>', begin);
  const std::size_t at = document.find(name + "='", begin);
  if (begin == std::string::npos || at == std::string::npos || at > end) return {};
  const std::size_t value = at + name.size() + 2;
  return document.substr(value, document.find('\'', value) - value);
}

// The model is told what a plain document means, so that it need not read XML; of one that is not
// plain it has no opinion.
static model::CallPrediction predict_rebase_to(model::DomainModel& model, const CallStep& call) {
  model::BaseDocument base{.path = attribute(*call.base, "source", "file"),
                           .format = attribute(*call.base, "driver", "type")};
  const std::string index = attribute(*call.base, "source", "index");
  std::from_chars(index.data(), index.data() + index.size(), base.index);
  if (base.path.empty()) {
    model::CallPrediction prediction;
    prediction.unknown = "a document that names no file";
    return prediction;
  }
  return model.block_rebase_to(call.disk, base, call.bandwidth, bits_of(call));
}

model::CallPrediction predict_call(model::DomainModel& model, const CallStep& call) {
  if (call.api == CallStep::Api::pull) return model.pull(call.disk, call.cursor, bits_of(call));
  if (call.api == CallStep::Api::pull_info) return model.pull_info(call.disk);
  const bool by_document = call.base && (bits_of(call) & kRebaseBaseXml) != 0;
  if (call.api == CallStep::Api::block_rebase && by_document) return predict_rebase_to(model, call);
  return call_on(model, call);
}

}  // namespace conformance
