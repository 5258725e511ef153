// A scenario with a lock manager: what is compared, and who skips it.

#include "conformance/run/watched_leases.h"

#include <gtest/gtest.h>

#include "conformance/run/describe.h"
#include "conformance/run/scenarios_for_test.h"

namespace conformance {
namespace {

const Scenario& scenario() {
  static const Scenario one = testing::parse(R"({
    "title": "A disk beside a pool", "because": "the test says why",
    "images": {"base": {"format": "raw", "size": "64k"},
               "top": {"format": "qcow2", "size": "64k", "backing": "base"}},
    "disks": [{"target": "vda", "source": "top"}],
    "leases": [{"file": "base", "holder": "pool", "mode": "shared"}],
    "steps": [{"call": "blockCommit", "disk": "vda", "base": null, "top": null, "flags": ["active"],
               "expect": {"error": {"domain": "LOCKSPACE", "code": "RESOURCE_BUSY",
                 "message": "Lockspace resource '${dir}/base' is locked by 'pool'"}}}]
  })")
                                  .front();
  return one;
}

class Compared : public ::testing::Test {
 protected:
  void SetUp() override {
    describe(scenario(), [](const std::string&) { return std::nullopt; }, model_);
    for (const char* file : {"top", "base", "x"})
      ASSERT_TRUE(session_->files().create(directory_ + "/" + file, 1).ok());
    ASSERT_FALSE(watched_.locks().hold("domain/vda", right_));
    label("base", Label::read_only);
    label("top", Label::read_write);
  }
  void label(const std::string& file, Label label) {
    ASSERT_TRUE(watched_.order().set("domain/vda", directory_ + "/" + file, label).ok());
  }
  std::vector<std::string> found() {
    std::vector<std::string> actual;
    for (const Divergence& divergence : watched_.compare("vda", model_))
      actual.push_back(divergence.actual);
    return actual;
  }

  SimTarget target_ = testing::simulator();
  std::unique_ptr<Session> session_ = *target_.open({});
  std::string directory_ = session_->files().directory();
  model::DomainModel model_{directory_};
  WatchedLeases watched_{*scenario().leases, session_->hypervisor(), session_->files()};
  Leases right_ = {{directory_ + "/base", LeaseMode::shared},
                   {directory_ + "/top", LeaseMode::exclusive}};
};

TEST_F(Compared, IsAsItMustBe) {
  EXPECT_EQ(found(), std::vector<std::string>());
  EXPECT_TRUE(watched_.locks().hold("domain/vda", {{directory_ + "/base", LeaseMode::exclusive}}));
}

TEST_F(Compared, LeasesThatAreTooFewOrTooMuch) {
  Leases wrong = right_;
  wrong[directory_ + "/top"] = LeaseMode::shared;
  ASSERT_FALSE(watched_.locks().hold("domain/vda", wrong));
  EXPECT_EQ(found(), std::vector<std::string>{"base:shared top:shared "});
  wrong = right_;
  wrong[directory_ + "/x"] = LeaseMode::shared;
  ASSERT_FALSE(watched_.locks().hold("domain/vda", wrong));
  EXPECT_EQ(found(), std::vector<std::string>{"base:shared top:exclusive x:shared "});
}

TEST_F(Compared, LabelsThatWereForgotten) {
  label("x", Label::read_only);
  EXPECT_EQ(found(), std::vector<std::string>{"base top x "});
}

TEST_F(Compared, AWrongOrderIsToldOnce) {
  ASSERT_TRUE(watched_.order().execute(
      "blockdev-add", {{"driver", "file"}, {"filename", directory_ + "/x"}, {"node-name", "f"}}));
  EXPECT_EQ(found().size(), 2U);  // neither labelled nor leased
  EXPECT_EQ(found(), std::vector<std::string>());
}

TEST(LeasesOfAScenario, AreKeptFromTheDomain) {
  SimTarget target = testing::simulator();
  const Executed executed = execute(scenario(), target, {});
  EXPECT_EQ(executed.broken + executed.skipped, "");
  EXPECT_TRUE(executed.divergences.empty()) << executed.divergences.front().actual;
}

// As real libvirt.
class WithoutLockManager final : public Target {
 public:
  std::string name() const override { return target_.name(); }
  std::string version() const override { return target_.version(); }
  std::string release() const override { return target_.release(); }
  std::string has_no_lock_manager() const override { return "it has none"; }
  Outcome<std::unique_ptr<Session>> open(const SessionOptions& options) override {
    return target_.open(options);
  }

 private:
  SimTarget target_ = testing::simulator();
};

TEST(LeasesOfAScenario, AreSkippedWhereThereIsNoLockManager) {
  WithoutLockManager target;
  EXPECT_EQ(execute(scenario(), target, {}).skipped, "it has none");
  Scenario without = scenario();
  without.leases.reset();
  EXPECT_EQ(execute(without, target, {}).skipped, "");
}

}  // namespace
}  // namespace conformance
