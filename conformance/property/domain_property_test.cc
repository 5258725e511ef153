// Random calls on a domain: the model and the simulator agree, and a fault would be noticed.

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <filesystem>
#include <map>
#include <string>

#include "conformance/property/domain_case.h"
#include "conformance/property/explore.h"
#include "conformance/property/found_file.h"
#include "conformance/run/sim_target.h"
#include "conformance/scenario/load.h"

namespace conformance::property {
namespace {

using sim::job::MirrorCanary;

TargetChoice simulator(MirrorCanary canary, const std::string& release) {
  const sim::qmp::Profile* profile = sim::qmp::find_profile(release);
  return {"sim:" + release,
          "simulated",
          release,
          [profile, canary]() -> Outcome<std::unique_ptr<Target>> {
            return std::make_unique<SimTarget>(*profile, canary);
          },
          {},
          {}};
}

Explored search(std::uint64_t seed, std::uint64_t cases, const TargetChoice& target) {
  ExploreOptions options;
  options.property = "domain";
  options.seed = seed;
  options.cases = cases;
  options.targets = {target};
  options.output = ::testing::TempDir() + "domain-found.json";
  options.shrink_tries_max = 300;
  const Explored explored = explore(options);
  if (explored.found) std::filesystem::remove(explored.found->file);
  return explored;
}

class EachRelease : public ::testing::TestWithParam<const char*> {};

TEST_P(EachRelease, DoesWhatTheModelSays) {
  const Explored explored = search(20261127, 300, simulator(MirrorCanary::none, GetParam()));
  EXPECT_EQ(explored.broken, "");
  EXPECT_EQ(explored.cases, 300U);
  if (explored.found)
    ADD_FAILURE() << explored.found->run.results.front().detail << "\n"
                  << to_json_text(explored.found->scenario);
}

INSTANTIATE_TEST_SUITE_P(Domain, EachRelease, ::testing::Values("7.2", "10.0", "11.1"),
                         [](const auto& row) {
                           std::string name = row.param;
                           name[name.find('.')] = '_';
                           return name;
                         });

TEST(Domain, AMirrorThatForgetsWritesIsFound) {
  const Explored explored =
      search(1, 3000, simulator(MirrorCanary::forgets_writes_after_ready, "7.2"));
  ASSERT_TRUE(explored.found);
  EXPECT_LE(explored.found->scenario.steps.size(), 7U) << to_json_text(explored.found->scenario);
}

// What is drawn is worth the while: every call is accepted and refused, every kind of job ends.
TEST(Domain, DrawsEveryCallAndEveryEnd) {
  rc::Random random(7);
  std::map<std::string, unsigned> seen;
  for (int i = 0; i < 2000; ++i) {
    const PlannedScenario planned = to_scenario(domain_cases()(random.split(), 100).value());
    for (const Step& step : planned.scenario.steps) {
      if (const auto* call = std::get_if<CallStep>(&step.action))
        ++seen["call " + std::to_string(static_cast<int>(call->api))];
      if (const auto* wait = std::get_if<WaitStep>(&step.action)) ++seen["wait " + wait->status];
      if (std::holds_alternative<GuestStep>(step.action)) ++seen["guest"];
    }
    seen["disks " + std::to_string(planned.scenario.disks.size())]++;
  }
  for (const char* wanted :
       {"call 0", "call 1", "call 2", "call 3", "call 4", "call 5", "wait ready", "wait completed",
        "wait canceled", "guest", "disks 1", "disks 2", "disks 3"})
    EXPECT_GE(seen[wanted], 20U) << wanted;
  EXPECT_GE(seen["wait failed"], 1U);
}

}  // namespace
}  // namespace conformance::property
