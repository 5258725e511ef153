// The property itself, and that it would notice.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "conformance/property/block_copy_case.h"
#include "conformance/property/explore.h"
#include "conformance/property/found_file.h"
#include "conformance/run/sim_target.h"
#include "conformance/scenario/load.h"

namespace conformance::property {
namespace {

namespace fs = std::filesystem;
using sim::job::MirrorCanary;

std::string text_of(const fs::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

InputResult<LoadedFile> load(const std::string& text) {
  static const std::string schema =
      text_of(UNDERSTUDY_SOURCE_DIR "/scenarios/scenario.schema.json");
  return load_scenarios(text, "case", "case.json", schema);
}

TargetChoice simulator(MirrorCanary canary = MirrorCanary::none, std::string name = "sim:7.2") {
  const sim::qmp::Profile* profile = sim::qmp::find_profile("7.2");
  return {std::move(name),
          "simulated",
          "7.2",
          [profile, canary]() -> Outcome<std::unique_ptr<Target>> {
            return std::make_unique<SimTarget>(*profile, canary);
          },
          {},
          {}};
}

std::vector<BlockCopyCase> draw(std::uint64_t seed, std::size_t count) {
  std::vector<BlockCopyCase> drawn;
  rc::Random random(seed);
  while (drawn.size() < count) drawn.push_back(block_copy_cases()(random.split(), 100).value());
  return drawn;
}

std::string text_of(const BlockCopyCase& drawn) {
  return to_json_text(to_scenario(drawn, "case").scenario);
}

// A directory of its own for each test, gone afterwards.
class Explore : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "property-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { fs::remove_all(directory_); }

  ExploreOptions options(std::uint64_t seed, std::uint64_t cases,
                         std::vector<TargetChoice> targets) const {
    ExploreOptions options;
    options.seed = seed;
    options.cases = cases;
    options.targets = std::move(targets);
    options.output = directory_ / "found.json";
    return options;
  }
  std::set<std::string> files() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_))
      names.insert(entry.path().filename().string());
    return names;
  }

  fs::path directory_;
};

Verdict verdict_of(const Scenario& scenario, MirrorCanary canary) {
  return run_scenarios({scenario}, {simulator(canary)}, {}).results.front().verdict;
}

// --- the property --------------------------------------------------------------------------------

TEST_F(Explore, FindsModelAndSimulatorAgreed) {
  const Explored explored = explore(options(20261120, 300, {simulator()}));
  EXPECT_EQ(explored.broken, "");
  EXPECT_EQ(explored.cases, 300U);
  if (explored.found)
    ADD_FAILURE() << explored.found->run.results.front().detail << "\n"
                  << to_json_text(explored.found->scenario);
  EXPECT_THAT(files(), ::testing::IsEmpty());
}

// --- it would notice -----------------------------------------------------------------------------

class Canary : public Explore, public ::testing::WithParamInterface<std::uint64_t> {};

TEST_P(Canary, IsCaughtAndShrunkToAScenarioThatRepeatsIt) {
  const Explored explored =
      explore(options(GetParam(), 200, {simulator(MirrorCanary::forgets_writes_after_ready)}));
  ASSERT_EQ(explored.broken, "");
  ASSERT_TRUE(explored.found);
  const Found& found = *explored.found;
  EXPECT_LE(found.scenario.steps.size(), 6U) << to_json_text(found.scenario);
  ASSERT_EQ(found.run.results.size(), 1U);
  EXPECT_EQ(found.run.results[0].verdict, Verdict::diverges);
  EXPECT_EQ(found.run.results[0].divergence_class(), DivergenceClass::data);
  EXPECT_EQ(found.run.results[0].id, "found");
  EXPECT_EQ(found.run.results[0].again, "understudy run --target sim:7.2 --seed " +
                                            std::to_string(GetParam()) + " " +
                                            (directory_ / "found.json").string());

  const auto loaded = load(text_of(found.file));
  ASSERT_TRUE(loaded) << to_string(loaded.error());
  ASSERT_EQ(loaded->scenarios.size(), 1U);
  EXPECT_EQ(verdict_of(loaded->scenarios[0], MirrorCanary::forgets_writes_after_ready),
            Verdict::diverges);
  EXPECT_EQ(verdict_of(loaded->scenarios[0], MirrorCanary::none), Verdict::conforms);
}

INSTANTIATE_TEST_SUITE_P(Seeds, Canary, ::testing::Values(1U, 2U, 3U, 4U, 5U));

TEST_F(Explore, FindsTheSameWithTheSameSeed) {
  const auto with = [&] {
    return explore(options(6, 200, {simulator(MirrorCanary::forgets_writes_after_ready)}));
  };
  const Explored once = with();
  const Explored again = with();
  ASSERT_TRUE(once.found && again.found);
  EXPECT_EQ(once.found->at_case, again.found->at_case);
  EXPECT_EQ(once.found->shrink_tries, again.found->shrink_tries);
  EXPECT_EQ(to_json_text(once.found->scenario), to_json_text(again.found->scenario));
}

TEST_F(Explore, NeverTouchesWhatIsThere) {
  std::ofstream(directory_ / "found.json") << "precious";
  const Explored explored =
      explore(options(1, 200, {simulator(MirrorCanary::forgets_writes_after_ready)}));
  ASSERT_TRUE(explored.found);
  EXPECT_EQ(explored.found->file, directory_ / "found-2.json");
  EXPECT_EQ(explored.found->scenario.id, "found-2");
  EXPECT_EQ(text_of(directory_ / "found.json"), "precious");
  EXPECT_THAT(files(), ::testing::ElementsAre("found-2.json", "found.json"));
}

TEST_F(Explore, SaysWhereItCannotWrite) {
  ExploreOptions nowhere = options(1, 200, {simulator(MirrorCanary::forgets_writes_after_ready)});
  nowhere.output = directory_ / "missing" / "found.json";
  const Explored explored = explore(nowhere);
  EXPECT_THAT(explored.broken, ::testing::HasSubstr("No such file or directory"));
}

// --- several targets -----------------------------------------------------------------------------

TEST_F(Explore, RunsAShareOnTheOtherTargets) {
  ExploreOptions both = options(3, 200, {simulator(), simulator(MirrorCanary::none, "other")});
  const Explored explored = explore(both);
  EXPECT_EQ(explored.cases, 200U);
  // One in twenty: ten are expected, the seed draws which.
  EXPECT_GE(explored.shared, 3U);
  EXPECT_LE(explored.shared, 25U);
  both.seed = 4;
  both.cases = 20;
  both.shared_one_in = 1;
  EXPECT_EQ(explore(both).shared, 20U);
}

TEST_F(Explore, ShrinksOnTheTargetThatIsWrongAlone) {
  ExploreOptions both =
      options(1, 200, {simulator(), simulator(MirrorCanary::forgets_writes_after_ready, "other")});
  both.shared_one_in = 2;
  const Explored explored = explore(both);
  ASSERT_TRUE(explored.found);
  EXPECT_LE(explored.found->scenario.steps.size(), 6U);
  ASSERT_EQ(explored.found->run.results.size(), 1U);
  EXPECT_EQ(explored.found->run.results[0].target, "other");
  EXPECT_THAT(explored.found->run.results[0].again,
              ::testing::StartsWith("understudy run --target other --seed 1 "));
}

TEST_F(Explore, ReportsATargetThatCannotBeOpened) {
  TargetChoice missing = simulator();
  missing.open = []() -> Outcome<std::unique_ptr<Target>> {
    return std::unexpected(TargetFailure{TargetFailure::Kind::harness, "not installed"});
  };
  const Explored explored = explore(options(1, 10, {missing}));
  EXPECT_EQ(explored.broken, "sim:7.2: not installed");
  EXPECT_EQ(explored.cases, 0U);
  EXPECT_FALSE(explored.found);
}

TEST_F(Explore, EndsWhenTheTimeIsUp) {
  ExploreOptions timed = options(1, 0, {simulator()});
  timed.seconds = 1;
  const Explored explored = explore(timed);
  EXPECT_GT(explored.cases, 0U);
  EXPECT_FALSE(explored.found);
}

// --- the cases -----------------------------------------------------------------------------------

TEST(BlockCopyCases, AreAFunctionOfTheSeed) {
  const std::vector<BlockCopyCase> once = draw(11, 50), again = draw(11, 50);
  std::set<std::string> texts;
  for (std::size_t i = 0; i < once.size(); ++i) {
    EXPECT_EQ(text_of(once[i]), text_of(again[i]));
    texts.insert(text_of(once[i]));
  }
  for (const BlockCopyCase& drawn : draw(12, 50)) texts.insert(text_of(drawn));
  EXPECT_GT(texts.size(), 95U);
}

// Writing and reading orders images by name where it may; otherwise nothing is lost.
TEST(BlockCopyCases, AreScenariosThatTheLoaderTakesAndGivesBack) {
  for (const BlockCopyCase& drawn : draw(13, 200)) {
    const Scenario scenario = to_scenario(drawn, "case").scenario;
    const auto loaded = load(to_json_text(scenario));
    ASSERT_TRUE(loaded) << to_string(loaded.error()) << "\n" << to_json_text(scenario);
    ASSERT_EQ(loaded->scenarios.size(), 1U);
    Scenario again = loaded->scenarios[0];
    EXPECT_EQ(again.id, scenario.id);
    EXPECT_THAT(again.images, ::testing::UnorderedElementsAreArray(scenario.images));
    Scenario wanted = scenario;
    wanted.images = again.images;
    EXPECT_EQ(to_json_text(again), to_json_text(wanted));
    const auto twice = load(to_json_text(again));
    ASSERT_TRUE(twice);
    EXPECT_EQ(to_json_text(twice->scenarios[0]), to_json_text(again));
  }
}

std::string course_of(const BlockCopyCase& drawn) {
  const PlannedScenario planned = to_scenario(drawn, "case");
  if (planned.unknown) return "unknown";
  std::string waits;
  for (const Step& step : planned.scenario.steps)
    if (const auto* wait = std::get_if<WaitStep>(&step.action)) waits += wait->status + " ";
  return waits.empty() ? "refused" : waits;
}

TEST(BlockCopyCases, ReachEverythingThatIsPromised) {
  std::map<std::size_t, int> depths;
  std::map<std::string, int> flags, courses;
  int held = 0, held_writes = 0, ready_writes = 0, early_pivots = 0, early_aborts = 0;
  int raw_bottoms = 0, with_sizes = 0, destinations = 0, with_backing = 0;
  for (const BlockCopyCase& drawn : draw(14, 1000)) {
    const auto in_chain = [](const Image& image) { return image.name.starts_with("layer"); };
    const auto chain = std::ranges::count_if(drawn.images, in_chain);
    ++depths[static_cast<std::size_t>(chain)];
    raw_bottoms += drawn.images[0].format == Image::Format::raw ? 1 : 0;
    std::set<std::uint64_t> sizes;
    for (const Image& image : drawn.images)
      if (in_chain(image)) sizes.insert(image.size);
    with_sizes += sizes.size() > 1 ? 1 : 0;
    std::string all;
    for (const std::string& flag : drawn.flags) all += flag + " ";
    ++flags[all];
    ++courses[course_of(drawn)];
    held += drawn.held ? 1 : 0;
    held_writes += drawn.while_held.empty() ? 0 : 1;
    ready_writes += drawn.while_ready.empty() ? 0 : 1;
    early_pivots += drawn.early_pivot ? 1 : 0;
    early_aborts += drawn.held && drawn.end == End::early_abort ? 1 : 0;
    const auto copy = std::ranges::find(drawn.images, "copy", &Image::name);
    destinations += copy != drawn.images.end() ? 1 : 0;
    with_backing += copy != drawn.images.end() && !copy->backing.empty() ? 1 : 0;
    for (const Image& image : drawn.images) {
      EXPECT_LE(image.size, 4U << 20);
      EXPECT_EQ(image.size % 512, 0U);
    }
  }
  for (std::size_t depth = 1; depth <= 4; ++depth) EXPECT_GT(depths[depth], 100) << depth;
  EXPECT_EQ(depths.size(), 4U);
  EXPECT_EQ(flags.size(), 8U);
  for (const char* course :
       {"ready canceled ", "ready completed ", "ready ", "canceled ", "failed ", "refused"})
    EXPECT_GT(courses[course], 20) << course;
  EXPECT_LT(courses["unknown"], 50);
  EXPECT_LT(courses["refused"], 400);  // or too little is copied
  for (const int often : {held, held_writes, ready_writes, early_pivots, early_aborts, raw_bottoms,
                          with_sizes, destinations, with_backing})
    EXPECT_GT(often, 20);
}

// --- shrinking -----------------------------------------------------------------------------------

// Whichever way is taken down, it has an end, and each case on it is one that can be run.
TEST(Smaller, ComesToAnEndWithCasesThatLoad) {
  std::uint64_t turn = 0;
  for (BlockCopyCase at : draw(15, 40)) {
    std::uint64_t steps = 0;
    for (std::vector<BlockCopyCase> next = smaller(at); !next.empty(); next = smaller(at)) {
      ASSERT_LT(++steps, 500U) << text_of(at);
      at = next[++turn * 7 % next.size()];
      const auto loaded = load(text_of(at));
      ASSERT_TRUE(loaded) << to_string(loaded.error()) << "\n" << text_of(at);
    }
    EXPECT_EQ(at.images.size(), 1U) << text_of(at);
    EXPECT_LE(to_scenario(at, "case").scenario.steps.size(), 4U) << text_of(at);
  }
}

TEST(FoundFile, IsNamedInTheCommandAsAShellTakesIt) {
  EXPECT_EQ(quoted_for_shell("found.json"), "found.json");
  EXPECT_EQ(quoted_for_shell("/a b/it's.json"), "'/a b/it'\\''s.json'");
  EXPECT_EQ(quoted_for_shell(""), "''");
  EXPECT_EQ(id_of("/some/where/found-2.json"), "found-2");
}

}  // namespace
}  // namespace conformance::property
