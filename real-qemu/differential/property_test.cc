// Random block copies on the real QEMU: it agrees with the model, and the simulator with it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "conformance/property/explore.h"
#include "conformance/run/sim_target.h"
#include "conformance/scenario/load.h"
#include "real-qemu/qemu_target.h"

namespace real_qemu {
namespace {

namespace fs = std::filesystem;
using conformance::Outcome;
using conformance::Target;
using conformance::TargetChoice;
using conformance::Verdict;
using conformance::property::Explored;
using conformance::property::ExploreOptions;
using sim::job::MirrorCanary;

TargetChoice simulator(MirrorCanary canary = MirrorCanary::none) {
  const sim::qmp::Profile* profile = sim::qmp::find_profile("7.2");
  return {"sim:7.2",
          "simulated",
          "7.2",
          [profile, canary]() -> Outcome<std::unique_ptr<Target>> {
            return std::make_unique<conformance::SimTarget>(*profile, canary);
          },
          {},
          {}};
}

class Property : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "property-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    auto probe = QemuTarget::find("qemu");
    ASSERT_TRUE(probe) << probe.error().detail;
    version_ = (*probe)->version();
    release_ = (*probe)->release();
  }
  void TearDown() override { fs::remove_all(directory_); }

  TargetChoice qemu() const {
    return {"qemu",
            version_,
            release_,
            []() -> Outcome<std::unique_ptr<Target>> {
              auto target = QemuTarget::find("qemu");
              if (!target) return std::unexpected(target.error());
              return *std::move(target);
            },
            {},
            {}};
  }
  ExploreOptions options(std::uint64_t seed, std::uint64_t cases,
                         std::vector<TargetChoice> targets) const {
    ExploreOptions options;
    options.seed = seed;
    options.cases = cases;
    options.targets = std::move(targets);
    options.shared_one_in = 1;
    options.output = directory_ / "found.json";
    return options;
  }

  fs::path directory_;
  std::string version_;
  std::string release_;
};

TEST_F(Property, FindsModelSimulatorAndQemuAgreed) {
  const Explored explored =
      conformance::property::explore(options(20261120, 60, {simulator(), qemu()}));
  EXPECT_EQ(explored.broken, "");
  EXPECT_EQ(explored.cases, 60U);
  EXPECT_EQ(explored.shared, 60U);
  if (!explored.found) return;
  for (const conformance::ScenarioResult& result : explored.found->run.results)
    ADD_FAILURE() << result.target << ": " << result.detail << "\n"
                  << to_json_text(explored.found->scenario);
}

// What catches a wrong mirror must not be wrong itself.
TEST_F(Property, WhatItFindsOfAWrongMirrorHoldsOnQemu) {
  const Explored explored = conformance::property::explore(
      options(1, 200, {simulator(MirrorCanary::forgets_writes_after_ready)}));
  ASSERT_TRUE(explored.found);
  const conformance::RunResult run =
      conformance::run_scenarios({explored.found->scenario}, {qemu()}, {});
  EXPECT_EQ(run.results.front().verdict, Verdict::conforms) << run.results.front().detail;
}

}  // namespace
}  // namespace real_qemu
