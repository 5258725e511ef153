// The scenario files of this repository: they load, and the block-copy matrix says what real
// libvirt says.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "conformance/scenario/load.h"

namespace conformance {
namespace {

const std::filesystem::path kScenarios = UNDERSTUDY_SOURCE_DIR "/scenarios";

std::string read_file(const std::filesystem::path& path) {
  const std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

LoadedFile load_id(const std::string& id) {
  const std::filesystem::path path = kScenarios / (id + ".json");
  auto loaded = load_scenarios(read_file(path), id, path.string(),
                               read_file(kScenarios / "scenario.schema.json"));
  EXPECT_TRUE(loaded) << to_string(loaded.error());
  return loaded ? *std::move(loaded) : LoadedFile{};
}

TEST(ShippedScenarios, AllLoadAndAreWrittenBackTheSame) {
  const std::string schema = read_file(kScenarios / "scenario.schema.json");
  std::set<std::string> ids;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kScenarios)) {
    if (entry.path().extension() != ".json" || entry.path().filename() == "scenario.schema.json")
      continue;
    const std::string id =
        entry.path().lexically_relative(kScenarios).replace_extension().generic_string();
    const LoadedFile loaded = load_id(id);
    EXPECT_FALSE(loaded.scenarios.empty()) << id;
    for (std::size_t i = 0; i < loaded.scenarios.size(); ++i) {
      const Scenario& scenario = loaded.scenarios[i];
      EXPECT_TRUE(ids.insert(scenario.id).second) << scenario.id;
      if (i % 37 != 0) continue;  // a sample: validation takes most of the time
      const std::string text = to_json_text(scenario);
      const auto again = load_scenarios(text, scenario.id, scenario.file, schema);
      ASSERT_TRUE(again) << scenario.id << to_string(again.error());
      ASSERT_EQ(again->scenarios.size(), 1);
      EXPECT_EQ(again->scenarios[0].images, scenario.images);
      EXPECT_EQ(again->scenarios[0].disks, scenario.disks);
      EXPECT_EQ(again->scenarios[0].leases, scenario.leases);
      EXPECT_EQ(to_json_text(again->scenarios[0]), text);
    }
  }
}

// What real libvirt 9.0 with QEMU 7.2.22 does for each combination (measured, one call each):
//   R  the copy becomes READY
//   F  the call succeeds and the job fails
//   x  refused: the destination exists
//   m  refused: the destination is missing
//   s  refused: a shallow copy cannot be raw
//   -  there is no such destination for this source
constexpr std::array<const char*, 10> kDestinations = {"absent",
                                                       "empty",
                                                       "qcow2-bare",
                                                       "qcow2-right-backing",
                                                       "qcow2-wrong-backing",
                                                       "qcow2-wrong-size",
                                                       "qcow2-old-data",
                                                       "raw",
                                                       "raw-old-data",
                                                       "raw-wrong-size"};
const std::map<std::string, std::string> kChains = {{"full", "RRxxxxxxxx"},
                                                    {"shallow", "RRxxxxxxxx"},
                                                    {"reuse-ext", "mFRRRFRRRF"},
                                                    {"copy-raw", "RRxxxxxxxx"},
                                                    {"shallow+reuse-ext", "mFRRRFRRRF"},
                                                    {"shallow+copy-raw", "ssssssssss"},
                                                    {"reuse-ext+copy-raw", "mFFFFFFRRF"},
                                                    {"shallow+reuse-ext+copy-raw", "mFFFFFFRRF"}};
const std::map<std::string, std::string> kSingleFiles = {
    {"full", "RRx-xxxxxx"},
    {"shallow", "RRx-xxxxxx"},
    {"reuse-ext", "mFR-RFRRRF"},
    {"copy-raw", "RRx-xxxxxx"},
    {"shallow+reuse-ext", "mFR-RFRRRF"},
    {"shallow+copy-raw", "RRx-xxxxxx"},
    {"reuse-ext+copy-raw", "mFF-FFFRRF"},
    {"shallow+reuse-ext+copy-raw", "mFF-FFFRRF"}};

char outcome_of(const Scenario& scenario) {
  const auto& call = std::get<CallStep>(scenario.steps.at(0).action);
  if (!call.expect->error) {
    for (const Step& step : scenario.steps)
      if (const auto* wait = std::get_if<WaitStep>(&step.action))
        return wait->status == "failed" ? 'F' : 'R';
    return '?';
  }
  EXPECT_EQ(scenario.steps.size(), 1) << scenario.id;
  static const std::map<std::string, char> kMessages = {
      {"CONFIG_UNSUPPORTED external destination file for disk vda already exists and is not a "
       "block "
       "device: ${dir}/copy",
       'x'},
      {"SYSTEM_ERROR missing destination file for disk vda: ${dir}/copy: No such file or directory",
       'm'},
      {"CONFIG_UNSUPPORTED shallow copy of disk 'vda' into a raw file is not possible", 's'}};
  EXPECT_EQ(call.expect->error->domain, "QEMU");
  const auto found = kMessages.find(call.expect->error->code + " " + call.expect->error->message);
  return found == kMessages.end() ? '?' : found->second;
}

TEST(BlockCopyMatrix, AgreesWithRealLibvirt) {
  const LoadedFile loaded = load_id("matrix/block-copy");
  std::map<std::string, std::set<char>> outcomes;  // by id up to the destination
  std::map<std::string, int> counts;
  for (const Scenario& scenario : loaded.scenarios) {
    const std::size_t end = scenario.id.find('/', scenario.id.find("dest="));
    const std::string group = scenario.id.substr(0, end);
    outcomes[group].insert(outcome_of(scenario));
    ++counts[group];
  }
  std::size_t expected_groups = 0;
  for (const std::string source : {"raw", "qcow2", "chain3", "chain3-raw-base", "chain3-sizes"})
    for (const auto& [flags, row] : source.starts_with("chain") ? kChains : kSingleFiles)
      for (std::size_t i = 0; i < kDestinations.size(); ++i) {
        const std::string group =
            fmt::format("matrix/block-copy/src={}/{}/dest={}", source, flags, kDestinations[i]);
        const char wanted = row[i];
        if (wanted == '-') {
          EXPECT_FALSE(outcomes.contains(group)) << group;
          continue;
        }
        ++expected_groups;
        EXPECT_EQ(outcomes[group], std::set<char>{wanted}) << group;
        // Five ends with three kinds of write each, but none after READY if that never comes.
        EXPECT_EQ(counts[group], wanted == 'R' ? 14 : 1) << group;
      }
  EXPECT_EQ(outcomes.size(), expected_groups);
  EXPECT_EQ(loaded.scenarios.size(), 1814);
  EXPECT_EQ(loaded.excluded.size(), 3);
}

TEST(BlockCopyMatrix, OneIdIsAsTheIssueSpellsIt) {
  const LoadedFile loaded = load_id("matrix/block-copy");
  const auto found = std::ranges::find(
      loaded.scenarios,
      "matrix/block-copy/src=chain3/shallow+reuse-ext/dest=qcow2-bare/pivot/write=after-ready",
      &Scenario::id);
  ASSERT_NE(found, loaded.scenarios.end());
  EXPECT_EQ(found->title, "Block copy with COPY, SHALLOW, REUSE_EXT");
  EXPECT_EQ(found->steps.size(), 8);
}

}  // namespace
}  // namespace conformance
