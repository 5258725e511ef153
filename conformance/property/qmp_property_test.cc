// Random conversations in QMP: the same seed gives the same answers, times and bytes.

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <string>
#include <tuple>
#include <vector>

#include "conformance/property/qmp_case.h"
#include "conformance/run/execution.h"
#include "conformance/run/sim_target.h"

namespace conformance::property {
namespace {

using Outcomes = std::tuple<std::uint64_t, std::uint64_t, std::string>;

// Hash of the trace, hash of all files at the end, and the conversation with its times.
Outcomes outcomes_of(const Scenario& scenario, SimTarget& target, std::uint64_t seed) {
  ExecutionOptions options;
  options.session = {.seed = seed, .explore = seed % 2 == 0};
  options.hash_bytes = true;
  const Executed executed = execute(scenario, target, options);
  EXPECT_EQ(executed.broken, "");
  std::string conversation = executed.crash;
  for (const TranscriptEntry& entry : executed.transcript) conversation += to_line(entry) + "\n";
  if (const std::string& directory = executed.directory; !directory.empty())
    for (std::size_t at = conversation.find(directory); at != std::string::npos;
         at = conversation.find(directory, at))
      conversation.replace(at, directory.size(), "${dir}");
  return {executed.trace_hash, executed.bytes_hash, std::move(conversation)};
}

// A quarter of the thousand for each release.
class EverySeed : public ::testing::TestWithParam<const char*> {};

TEST_P(EverySeed, GivesTheSameTwice) {
  const sim::qmp::Profile& profile = *sim::qmp::find_profile(GetParam());
  SimTarget once(profile), again(profile);
  std::uint64_t commands = 0;
  for (std::uint64_t seed = 1; seed <= 250; ++seed) {
    rc::Random random(seed * 4 + static_cast<std::uint64_t>(profile.major));
    const Scenario scenario = to_scenario(qmp_cases()(random, 100).value()).scenario;
    commands += scenario.steps.size();
    ASSERT_EQ(outcomes_of(scenario, once, seed), outcomes_of(scenario, again, seed))
        << "seed " << seed;
  }
  EXPECT_GT(commands, 250U);
}

INSTANTIATE_TEST_SUITE_P(Releases, EverySeed, ::testing::Values("5.2", "7.2", "10.0", "11.1"),
                         [](const auto& at) {
                           std::string name = at.param;
                           for (char& c : name) c = c == '.' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace conformance::property
