#include "reports/tap.h"

#include <fmt/format.h>

#include "reports/failure.h"
#include "reports/text.h"
#include "sim/base/json.h"

namespace reports {
namespace {

using conformance::ScenarioResult;
using conformance::Verdict;

// In TAP a '#' begins a directive.
std::string plain(const std::string& text) {
  std::string result;
  for (const char c : printable(one_line(text))) {
    if (c == '#' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

// A JSON string is a YAML scalar.
std::string scalar(const std::string& text) {
  return sim::Json(text).dump(-1, ' ', false, sim::Json::error_handler_t::replace);
}

std::string yaml(const ScenarioResult& result) {
  std::string text = "  ---\n";
  text += fmt::format("  verdict: {}\n", name_of(result.verdict));
  text += fmt::format("  detail: {}\n", scalar(result.detail));
  if (!result.divergences.empty()) text += "  divergences:\n";
  for (const conformance::Divergence& divergence : result.divergences)
    text += fmt::format(
        "    - class: {}\n      requirement: {}\n      expected: {}\n      actual: {}\n"
        "      place: {}\n",
        name_of(divergence.divergence_class), scalar(divergence.requirement),
        scalar(divergence.expected), scalar(divergence.actual), scalar(divergence.place));
  if (!result.transcript.empty()) text += "  transcript:\n";
  for (const std::string& line : result.transcript) text += "    - " + scalar(line) + "\n";
  return text + fmt::format("  again: {}\n  ...\n", scalar(result.again));
}

}  // namespace

std::string to_tap(const conformance::RunResult& run) {
  std::string text =
      fmt::format("TAP version 13\n1..{}\n", run.results.size() + run.stale_expectations.size());
  std::size_t number = 0;
  for (const ScenarioResult& result : run.results) {
    const std::string name =
        fmt::format("{} - {} {}", ++number, plain(result.target), plain(result.id));
    const std::string reason = plain(result.detail);
    switch (result.verdict) {
      case Verdict::conforms:
        text += fmt::format("ok {}\n", name);
        break;
      case Verdict::known:
        text += fmt::format("not ok {} # TODO known: {}\n", name, reason);
        break;
      case Verdict::skipped:
        text += fmt::format("ok {} # SKIP {}\n", name, reason);
        break;
      case Verdict::diverges:
      case Verdict::broken:
        text += fmt::format("not ok {}\n", name) + yaml(result);
        break;
    }
  }
  for (const std::string& stale : run.stale_expectations)
    text +=
        fmt::format("not ok {} - a known divergence no longer shows: {}\n", ++number, plain(stale));
  return text;
}

}  // namespace reports
