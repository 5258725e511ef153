// A scenario that did not end well, as lines of text: what reports for people and for CI show.

#pragma once

#include <string>
#include <vector>

#include "conformance/verdict/verdict.h"

namespace reports {

// One line with its heading; a text of several lines has an empty heading from the second on.
struct Line {
  std::string heading;  // "expected", "actual", …
  std::string text;
};

// Requirement, expected, actual and place of each divergence, or the detail where there is none;
// then the transcript.  Ends with the heading "again".
std::vector<Line> failure_lines(const conformance::ScenarioResult& result);

// The same as plain text, each line indented by `indent`; the last is "again: …".
std::string failure_text(const conformance::ScenarioResult& result, const std::string& indent);

}  // namespace reports
