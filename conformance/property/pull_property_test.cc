// Random pulls as proposed: the model and the simulator agree, and both forms come to one end.

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <string>

#include "conformance/property/explore.h"
#include "conformance/property/pull_case.h"
#include "conformance/run/execution.h"
#include "conformance/run/sim_target.h"
#include "conformance/scenario/load.h"

namespace conformance::property {
namespace {

model::FileExpectation top_of(const model::DomainModel& domain) {
  const auto files = domain.files();
  return *std::ranges::find(files, "top", &model::FileExpectation::name);
}

class PullOnEachRelease : public ::testing::TestWithParam<const char*> {};

// Explored, so that what is found is shrunk.
TEST_P(PullOnEachRelease, PullsAsTheModelSays) {
  const std::string release = GetParam();
  const sim::qmp::Profile* profile = sim::qmp::find_profile(release);
  ExploreOptions options;
  options.property = "pull";
  options.seed = 20261128;
  options.cases = 300;
  options.targets = {{"sim:" + release,
                      "simulated",
                      release,
                      [profile]() -> Outcome<std::unique_ptr<Target>> {
                        return std::make_unique<SimTarget>(*profile);
                      },
                      {},
                      {}}};
  options.output = ::testing::TempDir() + "pull-found.json";
  const Explored explored = explore(options);
  EXPECT_EQ(explored.broken, "");
  if (explored.found)
    ADD_FAILURE() << explored.found->run.results.front().detail << "\n"
                  << to_json_text(explored.found->scenario);
}

INSTANTIATE_TEST_SUITE_P(Pull, PullOnEachRelease, ::testing::Values("5.2", "7.2", "10.0", "11.1"),
                         [](const auto& row) {
                           std::string name = row.param;
                           name[name.find('.')] = '_';
                           return name;
                         });

TEST(Pull, BothFormsComeToTheSameEnd) {
  rc::Random random(1);
  SimTarget target(*sim::qmp::find_profile("7.2"));
  unsigned guest_writes = 0, increments = 0;
  for (int i = 0; i < 300; ++i) {
    const PullCase drawn = pull_cases()(random.split(), 100).value();
    const PlannedPull one = to_scenario(drawn, PullForm::increments);
    const PlannedPull other = to_scenario(drawn, PullForm::background);
    for (const PlannedPull* form : {&one, &other}) {
      const Executed executed = execute(form->planned.scenario, target, {});
      ASSERT_EQ(executed.broken, "") << to_json_text(form->planned.scenario);
      ASSERT_TRUE(executed.divergences.empty())
          << executed.divergences.front().actual << to_json_text(form->planned.scenario);
    }
    const std::string text = to_json_text(one.planned.scenario);
    EXPECT_EQ(one.end.guest_view("vda"), other.end.guest_view("vda")) << text;
    EXPECT_EQ(one.end.cold_view("top"), other.end.cold_view("top")) << text;
    EXPECT_EQ(one.end.chain("vda"), other.end.chain("vda")) << text;
    EXPECT_EQ(one.end.chain("vda").links.size(), 1U) << text;
    EXPECT_EQ(top_of(one.end).backing_string, "") << text;
    EXPECT_EQ(top_of(other.end).backing_string, "") << text;
    EXPECT_EQ(one.end.events(), other.end.events()) << text;
    for (const Step& step : one.planned.scenario.steps) {
      guest_writes += std::holds_alternative<GuestStep>(step.action) ? 1 : 0;
      const auto* call = std::get_if<CallStep>(&step.action);
      increments += call != nullptr && call->api == CallStep::Api::pull ? 1 : 0;
    }
  }
  EXPECT_GE(guest_writes, 600U);
  EXPECT_GE(increments, 1000U);
}

}  // namespace
}  // namespace conformance::property
