// Faults and power cuts in scenarios.

#include "conformance/run/hazards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "conformance/inspect/directory_for_test.h"
#include "conformance/run/execution.h"
#include "conformance/run/scenarios_for_test.h"

namespace conformance {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A disk of 1 MiB, its first half written with ones.
Executed run(const std::string& steps, std::uint64_t seed = 1) {
  const auto scenarios = testing::parse(R"({"title": "t", "because": "b",
      "images": {"src": {"format": "qcow2", "size": "1M",
                         "writes": [{"write": 1, "at": 0, "length": "512k"}]}},
      "disks": [{"target": "vda", "source": "src"}], "steps": [)" +
                                            steps + "]}",
                                        "test");
  SimTarget target = testing::simulator();
  ExecutionOptions options;
  options.session.seed = seed;
  options.hash_bytes = true;
  return scenarios.empty() ? Executed() : execute(scenarios.front(), target, options);
}

TEST(PowerCut, WhatIsLostIsDrawnFromTheSeed) {
  std::set<std::uint64_t> files;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const auto cut = [&] {
      return run(R"({"guest": "write", "disk": "vda", "at": 0, "length": "64k", "pattern": 7},
                    {"power-cut": true})",
                 seed);
    };
    const Executed executed = cut();
    EXPECT_EQ(executed.broken, "");
    EXPECT_THAT(executed.divergences, IsEmpty());
    EXPECT_EQ(executed.bytes_hash, cut().bytes_hash);
    files.insert(executed.bytes_hash);
  }
  EXPECT_GT(files.size(), 2U);  // kept, lost, torn
}

TEST(PowerCut, WhatWasFlushedIsNeverLost) {
  std::set<std::uint64_t> files;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Executed executed =
        run(R"({"guest": "write", "disk": "vda", "at": 0, "length": "64k", "pattern": 7},
               {"guest": "flush", "disk": "vda"}, {"power-cut": true})",
            seed);
    EXPECT_THAT(executed.divergences, IsEmpty());
    files.insert(executed.bytes_hash);
  }
  EXPECT_EQ(files.size(), 1U);
}

TEST(Faults, ARequestThatDoesNotFailDiverges) {
  const Executed executed = run(R"({"fault": {"on": "vda", "op": "write", "nth": 2}},
             {"guest": "write", "disk": "vda", "at": 0, "length": "64k", "pattern": 7,
              "expect": {"error": "Input/output error"}})");
  EXPECT_THAT(executed.divergences, ElementsAre(Field(&Divergence::actual, "success")));
}

TEST(Faults, ARequestThatFailsUnexpectedlyOrOtherwiseDiverges) {
  const std::string fault = R"({"fault": {"on": "src", "op": "write", "errno": "ENOSPC"}}, )";
  const std::string write =
      R"({"guest": "write", "disk": "vda", "at": 0, "length": "64k", "pattern": 7)";
  EXPECT_THAT(run(fault + write + "}").divergences,
              ElementsAre(Field(&Divergence::actual, HasSubstr("No space left on device"))));
  EXPECT_THAT(run(fault + write + R"(, "expect": {"error": "Input/output error"}})").divergences,
              ElementsAre(Field(&Divergence::actual, HasSubstr("No space left on device"))));
  EXPECT_THAT(
      run(fault + write + R"(, "expect": {"error": "No space left on device"}})").divergences,
      IsEmpty());
}

TEST(Faults, AFlushThatMayHaveFailedPromisesNothing) {
  std::set<std::uint64_t> files;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Executed executed = run(R"({"fault": {"on": "vda", "op": "flush", "lasting": true}},
               {"guest": "write", "disk": "vda", "at": 0, "length": "64k", "pattern": 7},
               {"guest": "flush", "disk": "vda"}, {"power-cut": true})",
                                  seed);
    EXPECT_THAT(executed.divergences, IsEmpty());
    files.insert(executed.bytes_hash);
  }
  EXPECT_GT(files.size(), 1U);
}

class Incapable final : public Target {
 public:
  std::string name() const override { return "incapable"; }
  std::string version() const override { return "0"; }
  std::string release() const override { return "7.2"; }
  Outcome<std::unique_ptr<Session>> open(const SessionOptions& options) override {
    class Wrapped final : public Session {
     public:
      explicit Wrapped(std::unique_ptr<Session> inner) : inner_(std::move(inner)) {}
      Hypervisor& hypervisor() override { return inner_->hypervisor(); }
      Files& files() override { return files_; }

     private:
      std::unique_ptr<Session> inner_;
      inspect::TestDirectory files_;
    };
    auto inner = testing::simulator().open(options);
    if (!inner) return inner;
    return std::make_unique<Wrapped>(*std::move(inner));
  }
};

TEST(Faults, ATargetThatCannotIsSkippedWithItsReason) {
  Scenario scenario;
  scenario.steps.push_back({FaultStep{.on = "x", .op = "read"}, ""});
  Incapable target;
  const Executed executed = execute(scenario, target, {});
  EXPECT_THAT(executed.skipped, HasSubstr("cannot let requests fail"));
  EXPECT_EQ(executed.broken, "");
}

}  // namespace
}  // namespace conformance
