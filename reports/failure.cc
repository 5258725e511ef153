#include "reports/failure.h"

#include <fmt/format.h>

#include "reports/text.h"

namespace reports {
namespace {

void add(std::vector<Line>& lines, std::string heading, const std::string& text) {
  std::size_t begin = 0;
  do {
    const std::size_t end = text.find('\n', begin);
    lines.push_back({heading, text.substr(begin, end == text.npos ? end : end - begin)});
    heading.clear();
    begin = end == text.npos ? text.size() : end + 1;
  } while (begin < text.size());
}

}  // namespace

std::vector<Line> failure_lines(const conformance::ScenarioResult& result) {
  std::vector<Line> lines;
  if (result.divergences.empty()) add(lines, "reason", result.detail);
  for (const conformance::Divergence& divergence : result.divergences) {
    add(lines, std::string(name_of(divergence.divergence_class)), divergence.requirement);
    add(lines, "expected", divergence.expected);
    add(lines, "actual", divergence.actual);
    if (!divergence.place.empty()) add(lines, "at", divergence.place);
  }
  for (std::size_t i = 0; i < result.transcript.size(); ++i)
    add(lines, i == 0 ? "transcript" : "", result.transcript[i]);
  lines.push_back({"again", one_line(result.again)});
  return lines;
}

std::string failure_text(const conformance::ScenarioResult& result, const std::string& indent) {
  std::string text;
  for (const Line& line : failure_lines(result)) {
    const bool again = line.heading == "again";
    const std::string shown = printable(line.text);
    text += again ? fmt::format("{}again: {}\n", indent, shown)
                  : fmt::format("{}{:<10}  {}\n", indent, line.heading, shown);
  }
  return text;
}

}  // namespace reports
