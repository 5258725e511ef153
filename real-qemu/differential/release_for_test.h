// Tests that ask one installed release after the other, where it is installed.

#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "real-qemu/installed.h"
#include "real-qemu/process.h"
#include "sim/qmp/profile.h"

namespace differential {

inline std::vector<std::string> release_names() {
  std::vector<std::string> names;
  for (const sim::Profile& profile : sim::kProfiles) names.emplace_back(profile.name);
  return names;
}

inline std::string name_of_release(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = "v" + info.param;
  name[name.find('.')] = '_';
  return name;
}

// The parameter is a profile's name.  Skipped, with the cure, where the release is not installed.
class ReleaseProgramTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const auto found =
        real_qemu::locate("qemu:" + GetParam(), {.root = UNDERSTUDY_SOURCE_DIR, .path = {}});
    if (!found) GTEST_SKIP() << found.error();
    program_ = found->program;
  }
  const std::string& program() const { return program_; }

 private:
  std::string program_;
};

// The same, with a process of it.
class ReleaseTest : public ReleaseProgramTest {
 protected:
  void SetUp() override {
    ReleaseProgramTest::SetUp();
    if (!IsSkipped()) restart({});
  }

  const sim::Profile& profile() const { return *sim::find_profile(GetParam()); }
  bool has_policies() const { return GetParam() != "5.2"; }

  void restart(std::vector<std::string> arguments) {
    process_.reset();
    auto started = real_qemu::Process::start({.program = program(),
                                              .place = real_qemu::scratch_place(),
                                              .arguments = std::move(arguments),
                                              .limits = {}});
    ASSERT_TRUE(started) << started.error().detail;
    process_ = *std::move(started);
  }

  // The whole reply; null if QEMU failed, which fails the test.
  sim::Json ask(std::string_view command, const sim::Json& arguments) {
    auto reply = process_->execute(command, arguments);
    if (!reply) {
      ADD_FAILURE() << command << ' ' << arguments.dump() << ": " << reply.error().detail;
      return nullptr;
    }
    return *std::move(reply);
  }
  bool usable() const { return process_ != nullptr && process_->usable(); }
  const sim::Json& greeting() const { return process_->greeting(); }

 private:
  std::unique_ptr<real_qemu::Process> process_;
};

}  // namespace differential
