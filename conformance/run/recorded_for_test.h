// For tests that hold the model to what real libvirt left behind
// (conformance/domain/testdata/).

#pragma once

#include <string>

#include "conformance/model/domain_model.h"
#include "conformance/run/scenarios_for_test.h"
#include "sim/base/json.h"
#include "sim/base/size.h"
#include "sim/base/text.h"

namespace conformance::testing {

constexpr std::uint64_t kRecordedUnit = 64 << 10;  // bytes, of a digit of a recorded view

// A file of testdata/ with ${dir} replaced by "/d".
inline sim::Json recorded(const std::string& name) {
  return sim::Json::parse(sim::replace_all(
      text_of(UNDERSTUDY_SOURCE_DIR "/conformance/domain/testdata/" + name), "${dir}", "/d"));
}

// A digit for each unit, as the recordings have them; "?" where several bytes are possible.
inline std::string digits(const model::View& view) {
  std::string text;
  for (const model::ViewRun& run : view) {
    const auto pattern = run.pattern();
    if (run.offset % kRecordedUnit != 0 || run.length % kRecordedUnit != 0) return "no whole units";
    text.append(run.length / kRecordedUnit, pattern ? "0123456789abcdef"[*pattern & 15] : '?');
  }
  return text;
}

}  // namespace conformance::testing
