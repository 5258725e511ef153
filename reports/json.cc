#include "reports/json.h"

#include <fmt/format.h>

#include "reports/file.h"
#include "sim/base/json.h"

namespace reports {
namespace {

using conformance::Divergence;
using conformance::RunResult;
using conformance::ScenarioResult;
using Ordered = nlohmann::ordered_json;

// Bytes that are no UTF-8 become U+FFFD.
std::string dump(const Ordered& value) {
  return value.dump(-1, ' ', false, Ordered::error_handler_t::replace);
}

Ordered divergence_json(const Divergence& divergence) {
  Ordered json;
  json["class"] = name_of(divergence.divergence_class);
  json["requirement"] = divergence.requirement;
  json["expected"] = divergence.expected;
  json["actual"] = divergence.actual;
  json["place"] = divergence.place;
  return json;
}

Ordered scenario_json(const ScenarioResult& result) {
  Ordered json;
  json["id"] = result.id;
  json["target"] = result.target;
  json["verdict"] = name_of(result.verdict);
  json["class"] = name_of(result.divergence_class());
  json["detail"] = result.detail;
  json["again"] = result.again;
  json["seconds"] = result.seconds;
  if (result.trace_hash != 0) json["trace_hash"] = fmt::format("{:016x}", result.trace_hash);
  for (const Divergence& divergence : result.divergences)
    json["divergences"].push_back(divergence_json(divergence));
  if (!result.transcript.empty()) json["transcript"] = result.transcript;
  return json;
}

// One line for each element.
std::string lines(const std::vector<std::string>& elements) {
  if (elements.empty()) return "[]";
  std::string text = "[";
  for (const std::string& line : elements) text += (text == "[" ? "\n  " : ",\n  ") + line;
  return text + "\n ]";
}

}  // namespace

std::string to_json(const RunResult& run) {
  std::vector<std::string> targets;
  targets.reserve(run.targets.size());
  for (const conformance::TargetInfo& target : run.targets) {
    Ordered json;
    json["name"] = target.name;
    json["version"] = target.version;
    targets.push_back(dump(json));
  }
  const conformance::Totals sums = run.totals();
  Ordered totals;
  for (std::size_t i = 0; i < conformance::kVerdictNames.size(); ++i)
    totals[std::string(conformance::kVerdictNames[i])] = sums.by_verdict[i];
  std::vector<std::string> scenarios;
  scenarios.reserve(run.results.size());
  for (const ScenarioResult& result : run.results) scenarios.push_back(dump(scenario_json(result)));
  return fmt::format(
      "{{\n \"understudy\": {},\n \"seed\": {},\n \"targets\": {},\n \"totals\": {},\n"
      " \"seconds\": {},\n \"exit_code\": {},\n \"normalisations\": {},\n"
      " \"stale_expectations\": {},\n \"scenarios\": {}\n}}\n",
      dump(run.version), run.seed, lines(targets), dump(totals), dump(run.seconds), run.exit_code(),
      dump(run.normalisations), dump(run.stale_expectations), lines(scenarios));
}

sim::Result<> write_json(const RunResult& run, const std::string& path) {
  return write_file(path, to_json(run));
}

}  // namespace reports
