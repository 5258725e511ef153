// For tests: the shipped scenarios, simulators, and scenarios made by hand.

#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "conformance/run/runner.h"
#include "conformance/run/sim_target.h"
#include "conformance/scenario/load.h"

namespace conformance::testing {

inline std::string text_of(const std::string& path) {
  const std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

// Reads a scenario's text; `id` names it in messages.
inline std::vector<Scenario> parse(const std::string& text, const std::string& id = "test") {
  static const std::string schema =
      text_of(UNDERSTUDY_SOURCE_DIR "/scenarios/scenario.schema.json");
  auto loaded = load_scenarios(text, id, id + ".json", schema);
  EXPECT_TRUE(loaded) << to_string(loaded.error());
  return loaded ? std::move(loaded->scenarios) : std::vector<Scenario>{};
}

inline const std::vector<Scenario>& matrix() {
  static const std::vector<Scenario> all = parse(
      text_of(UNDERSTUDY_SOURCE_DIR "/scenarios/matrix/block-copy.json"), "matrix/block-copy");
  return all;
}

inline SimTarget simulator(sim::job::MirrorCanary canary = sim::job::MirrorCanary::none) {
  return SimTarget(*sim::qmp::find_profile("7.2"), canary);
}

inline TargetChoice simulator_choice() {
  return {"sim:7.2",
          "simulated",
          "7.2",
          []() -> Outcome<std::unique_ptr<Target>> {
            return std::make_unique<SimTarget>(*sim::qmp::find_profile("7.2"));
          },
          {},
          {}};
}

}  // namespace conformance::testing
