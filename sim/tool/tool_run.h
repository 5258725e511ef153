// For the tests of this room: the tool beside the real programs.

#pragma once

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "sim/base/json.h"
#include "sim/qcow2/qemu_tools.h"
#include "sim/storage/file.h"
#include "sim/tool/tool.h"

namespace sim::tool::testing {

struct Said {
  int code = -1;
  std::string out, err;
};

// `command` split at blanks; what is quoted ('…') stays together.
inline std::vector<std::string> words(const std::string& command) {
  std::vector<std::string> found;
  bool open = false, quoted = false;
  for (const char c : command) {
    if (c == '\'') {
      quoted = !quoted;
      if (!open) found.emplace_back();
      open = true;
    } else if (c == ' ' && !quoted) {
      open = false;
    } else {
      if (!open) found.emplace_back();
      open = true;
      found.back() += c;
    }
  }
  return found;
}

inline Said run_image(storage::FileSystem& files, const std::string& directory,
                      const std::string& command, image::UtcOffset utc_offset = {}) {
  Said said;
  const Surroundings surroundings{.files = files,
                                  .working_directory = directory,
                                  .out = [&](std::string_view text) { said.out += text; },
                                  .err = [&](std::string_view text) { said.err += text; },
                                  .now_ns = [] { return std::uint64_t{1'700'000'000'123'456'789}; },
                                  .random =
                                      [](MutableBytes bytes) {
                                        for (std::size_t i = 0; i < bytes.size(); ++i)
                                          bytes[i] = std::byte(i * 7 + 1);
                                      },
                                  .utc_offset = std::move(utc_offset)};
  said.code = run_tool(surroundings, words(command));
  return said;
}

// Runs the tool and the real programs in one private directory.
class BesideQemu : public qcow2::testing::WithQemu {
 protected:
  Said tool(const std::string& command) { return run_image(files_, directory_.path(), command); }

  // The command of both, which must succeed, with `ours` added for the tool; gives qemu-img's
  // output and what the tool says.
  std::pair<std::string, std::string> both(const std::string& command,
                                           const std::string& ours = {}) {
    const std::string theirs = must("qemu-img " + command);
    const Said said = tool(command + " " + ours);
    EXPECT_EQ(said.code, 0) << command << "\n" << said.err;
    return {said.out, theirs};
  }
  void expect_same(const std::string& command, const std::string& ours = {}) {
    const auto [mine, theirs] = both(command, ours);
    EXPECT_EQ(mine, theirs) << command;
  }
  void expect_same_json(const std::string& command, const std::string& ours = {}) {
    const auto [mine, theirs] = both(command + " --output=json", ours);
    EXPECT_EQ(Json::parse(mine, nullptr, false), Json::parse(theirs, nullptr, false))
        << command << "\n"
        << mine;
  }

  storage::RealFiles files_{storage::Flush::unsafe};
};

}  // namespace sim::tool::testing
