// Exit codes and texts of `understudy explore`, as cli.md promises them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "conformance/cli/commands.h"
#include "sim/base/json.h"

namespace cli {
namespace {

namespace fs = std::filesystem;

class ExploreCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "explore-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    options_.targets.specs = {"sim"};
    options_.cases = 5;
    options_.output = directory_ / "found.json";
  }
  void TearDown() override { fs::remove_all(directory_); }

  struct Ran {
    int code;
    std::string out, err;
  };
  Ran run() const {
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    const int code = explore_command(options_);
    std::fflush(stdout);
    return {code, ::testing::internal::GetCapturedStdout(),
            ::testing::internal::GetCapturedStderr()};
  }

  fs::path directory_;
  Options options_;
};

TEST_F(ExploreCommand, SaysWhatItDidWhenItFoundNothing) {
  options_.property = "block-copy";
  options_.json = directory_ / "report.json";
  const Ran ran = run();
  EXPECT_EQ(ran.code, kConforms);
  EXPECT_THAT(ran.out, ::testing::StartsWith("block-copy, seed 1: 5 cases on sim:7.2"));
  std::ifstream in(options_.json);
  const sim::Json report = sim::Json::parse(in);
  EXPECT_EQ(report["seed"], 1);
  EXPECT_EQ(report["totals"]["conforms"], 1);
  EXPECT_FALSE(fs::exists(directory_ / "found.json"));
}

TEST_F(ExploreCommand, ListsThePropertiesWhenItDoesNotKnowOne) {
  options_.property = "block-pull";
  const Ran ran = run();
  EXPECT_EQ(ran.code, kBadInput);
  EXPECT_THAT(ran.err, ::testing::HasSubstr("no such property; there is: block-copy"));
}

TEST_F(ExploreCommand, TakesNoScenario) {
  options_.names = {"matrix/block-copy"};
  EXPECT_EQ(run().code, kBadInput);
}

TEST_F(ExploreCommand, IsQuietWhenAsked) {
  options_.quiet = true;
  const Ran ran = run();
  EXPECT_EQ(ran.code, kConforms);
  EXPECT_EQ(ran.out + ran.err, "");
}

}  // namespace
}  // namespace cli
