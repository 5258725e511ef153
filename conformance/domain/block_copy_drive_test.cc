// The recipe `drive`: the commands of a copy, by what libvirt sent in 2012
// (qemuMonitorJSONDriveMirror: device, target, speed, sync, mode, format) and what the layer adds
// to them.

#include <gtest/gtest.h>

#include <chrono>

#include "conformance/domain/domain.h"
#include "conformance/domain/fake_target.h"

namespace conformance {
namespace {

using testing::kDirectory;
using testing::outcome_of;
using namespace std::chrono_literals;

class DriveCopy : public ::testing::Test {
 protected:
  void SetUp() override {
    files_.qcow2("base");
    files_.qcow2("top", kDirectory + "/base");
    files_.qcow2("over", kDirectory + "/base");
    auto started = Domain::start(hypervisor_, files_,
                                 {.disks = {{"vda", kDirectory + "/top", "qcow2"}},
                                  .recipe = CopyRecipe::drive,
                                  .keep_status = [this](const std::string& s) { status_ = s; }});
    ASSERT_TRUE(started);
    domain_ = *std::move(started);
    hypervisor_.sent.clear();
    hypervisor_.commands.clear();
  }
  Json copy(const std::string& file, std::uint32_t flags, std::uint64_t bytes = 0) {
    return outcome_of(domain_->block_rebase("vda", kDirectory + "/" + file, bytes,
                                            kRebaseCopy | kRebaseBandwidthBytes | flags));
  }
  void wait_for_ready() {
    const auto event = domain_->next_event(1ms);
    ASSERT_TRUE(event && *event);
    EXPECT_EQ((*event)->status, "READY");
  }
  std::vector<std::string> chain() {
    std::vector<std::string> names;
    for (const ChainLink& link : (*domain_->chain("vda")).links)
      names.push_back(link.path.substr(kDirectory.size() + 1));
    return names;
  }

  testing::MapFiles files_;
  testing::ObligingHypervisor hypervisor_;
  std::string status_;
  std::unique_ptr<Domain> domain_;
};

using Names = std::vector<std::string>;

TEST_F(DriveCopy, NamesTheFileAndItsFormat) {
  EXPECT_EQ(copy("copy", kRebaseShallow, 77), "ok");
  EXPECT_EQ(hypervisor_.commands, (std::vector<Json>{{"drive-mirror",
                                                      {{"device", "libvirt-1-format"},
                                                       {"target", kDirectory + "/copy"},
                                                       {"sync", "top"},
                                                       {"mode", "absolute-paths"},
                                                       {"format", "qcow2"},
                                                       {"speed", 77},
                                                       {"job-id", "drive-virtio-disk0"},
                                                       {"node-name", "libvirt-3-format"},
                                                       {"auto-dismiss", false}}}}));
  EXPECT_EQ(files_.files.count(kDirectory + "/copy"), 1U);  // to be labelled before QEMU opens it
}

TEST_F(DriveCopy, ReusesWhatIsThereInTheFormatThatWasProbed) {
  EXPECT_EQ(copy("over", kRebaseReuseExt), "ok");
  EXPECT_EQ(hypervisor_.mirrors.at(0)["mode"], "existing");
  EXPECT_EQ(hypervisor_.mirrors.at(0)["sync"], "full");
  EXPECT_EQ(hypervisor_.mirrors.at(0)["format"], "qcow2");
  files_.raw("flat");
  ASSERT_TRUE(domain_->block_job_abort("vda", 0));
  EXPECT_EQ(copy("flat", kRebaseReuseExt | kRebaseShallow), "ok");
  EXPECT_EQ(hypervisor_.mirrors.at(1)["format"], "raw");
}

TEST_F(DriveCopy, ChecksAsLibvirtDoesBeforeItSendsAnything) {
  files_.raw("there");
  EXPECT_EQ(copy("there", 0)["code"], "CONFIG_UNSUPPORTED");
  EXPECT_EQ(copy("missing", kRebaseReuseExt)["code"], "SYSTEM_ERROR");
  EXPECT_EQ(copy("copy", kRebaseShallow | kRebaseCopyRaw)["code"], "CONFIG_UNSUPPORTED");
  EXPECT_EQ(hypervisor_.sent, Names());
}

TEST_F(DriveCopy, PivotsByTheDevicesName) {
  EXPECT_EQ(copy("copy", kRebaseShallow), "ok");
  EXPECT_EQ(outcome_of(domain_->block_job_abort("vda", kAbortPivot))["message"],
            "block job 'drive-virtio-disk0' not ready for pivot yet");
  wait_for_ready();
  hypervisor_.commands.clear();
  EXPECT_EQ(outcome_of(domain_->block_job_abort("vda", kAbortPivot)), "ok");
  EXPECT_EQ(hypervisor_.commands.at(0),
            Json({"block-job-complete", {{"device", "drive-virtio-disk0"}}}));
  EXPECT_EQ(chain(), (Names{"copy", "base"}));
  // The old image's nodes go; what lies beneath both stays.
  EXPECT_EQ(std::ranges::count(hypervisor_.sent, "blockdev-del"), 2);
}

TEST_F(DriveCopy, AbortsByTheDevicesNameAndRemovesNoNodes) {
  EXPECT_EQ(copy("over", kRebaseShallow | kRebaseReuseExt), "ok");
  wait_for_ready();
  hypervisor_.commands.clear();
  EXPECT_EQ(outcome_of(domain_->block_job_abort("vda", 0)), "ok");
  EXPECT_EQ(hypervisor_.commands.at(0),
            Json({"block-job-cancel", {{"device", "drive-virtio-disk0"}}}));
  EXPECT_EQ(std::ranges::count(hypervisor_.sent, "blockdev-del"), 0);
  EXPECT_EQ(chain(), (Names{"top", "base"}));
}

// As measured: what QEMU opens beneath a reused copy has names that it made up.
TEST_F(DriveCopy, LearnsTheNamesOfWhatQemuOpened) {
  EXPECT_EQ(copy("over", kRebaseReuseExt), "ok");
  wait_for_ready();
  hypervisor_.statistics = {
      {{"node-name", "libvirt-9-format"}, {"backing", {{"node-name", "#block001"}}}},
      {{"node-name", "libvirt-3-format"}, {"backing", {{"node-name", "#block456"}}}}};
  EXPECT_EQ(outcome_of(domain_->block_job_abort("vda", kAbortPivot)), "ok");
  EXPECT_EQ(chain(), (Names{"over", "base"}));
  const auto commit = [this](Domain& domain) {
    hypervisor_.commands.clear();
    ASSERT_TRUE(domain.block_commit("vda", std::nullopt, std::nullopt, 0, kCommitActive));
    ASSERT_FALSE(hypervisor_.commands.empty());
    const Json& arguments = hypervisor_.commands.back()[1];
    EXPECT_EQ(arguments["base-node"], "#block456");
    EXPECT_EQ(arguments["top-node"], "libvirt-3-format");
    EXPECT_EQ(arguments["job-id"], "commit-vda-libvirt-3-format");
  };
  // Another client knows them too.
  auto other = Domain::reconnect(hypervisor_, files_, status_);
  ASSERT_TRUE(other);
  commit(*domain_);
  commit(**other);
}

TEST_F(DriveCopy, RemovesAFileOfItsOwnWhenQemuRefuses) {
  hypervisor_.refusals[{"drive-mirror", 0}] = "no";
  EXPECT_EQ(copy("copy", 0)["message"], "unable to execute QEMU command 'drive-mirror': no");
  EXPECT_EQ(files_.files.count(kDirectory + "/copy"), 0U);
  EXPECT_EQ(copy("copy", 0), "ok");
}

}  // namespace
}  // namespace conformance
