#include "sim/command/coverage.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "sim/command/context.h"

namespace sim::command {
namespace {

TEST(Coverage, ThePageIsUpToDate) {
  std::ifstream file(UNDERSTUDY_SOURCE_DIR "/docs/qmp-coverage.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  EXPECT_TRUE(page == qmp_coverage()) << "understudy list --qmp > docs/qmp-coverage.md";
}

TEST(Coverage, WhatIsHandledIsDeclared) {
  for (const Command* command : all_commands()) {
    bool declared = false;
    for (const Profile& profile : kProfiles)
      declared = declared || qmp::Schema::of(profile).has_command(command->name);
    EXPECT_TRUE(declared) << command->name;
  }
}

}  // namespace
}  // namespace sim::command
