// What installed releases and understudy-qemu say to command lines that they refuse: the same words
// and the same exit code.  The command lines are in command_lines.json.

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "real-qemu/differential/release_for_test.h"
#include "real-qemu/differential/shell.h"

namespace differential {
namespace {

constexpr const char* kDataFile =
    UNDERSTUDY_SOURCE_DIR "/real-qemu/differential/command_lines.json";

class CommandLines : public ::testing::TestWithParam<std::string> {};

TEST_P(CommandLines, AreRefusedAlike) {
  const auto found =
      real_qemu::locate("qemu:" + GetParam(), {.root = UNDERSTUDY_SOURCE_DIR, .path = {}});
  if (!found) GTEST_SKIP() << found.error();
  const auto say = [](std::vector<std::string> command, const std::vector<std::string>& more) {
    for (const char* argument : {"-machine", "none", "-nodefaults", "-display", "none", "-S"})
      command.emplace_back(argument);
    command.insert(command.end(), more.begin(), more.end());
    const Ran ran = run_program(command, "/");
    EXPECT_FALSE(ran.hung);
    return std::to_string(ran.code) + " " + ran.err;
  };
  std::ifstream file(kDataFile);
  int count = 0;
  for (const sim::Json& row : sim::Json::parse(file)) {
    const auto arguments = row.get<std::vector<std::string>>();
    EXPECT_EQ(say({UNDERSTUDY_QEMU_PROGRAM, "-understudy", "profile=" + GetParam()}, arguments),
              say({found->program}, arguments))
        << row.dump() << "; left: ours, right: QEMU's";
    ++count;
  }
  EXPECT_GT(count, 70);
}

INSTANTIATE_TEST_SUITE_P(Releases, CommandLines, ::testing::ValuesIn(release_names()),
                         name_of_release);

}  // namespace
}  // namespace differential
