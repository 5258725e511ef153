// Any text as a scenario file: refused with a place, or read and written back to the same.

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "conformance/scenario/load.h"
#include "sim/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string schema = [] {
    std::ifstream in(UNDERSTUDY_SOURCE_DIR "/scenarios/scenario.schema.json");
    return std::string{std::istreambuf_iterator<char>(in), {}};
  }();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto loaded = conformance::load_scenarios(text, "fuzz", "fuzz.json", schema);
  if (!loaded) {
    CHECK(!loaded.error().expected.empty(), "a refusal says what was expected");
    return 0;
  }
  for (const conformance::Scenario& scenario : loaded->scenarios) {
    const std::string again = conformance::to_json_text(scenario);
    const auto reloaded = conformance::load_scenarios(again, scenario.id, "again.json", schema);
    CHECK(reloaded && reloaded->scenarios.size() == 1, "what was read can be written and read");
    CHECK(conformance::to_json_text(reloaded->scenarios.front()) == again);
  }
  return 0;
}
