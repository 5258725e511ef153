// How a mirror lives and ends; every story is what QEMU 7.2 told (facts and measurements; the same
// sequences run against it in real-qemu/differential).

#include "sim/machine/machine_for_test.h"

namespace sim::machine {
namespace {

class MirrorLife : public testing::MachineTest {};

constexpr std::uint64_t kMiB = 1_MiB;

TEST_F(MirrorLife, FullIsReadyAndPivots) {
  EXPECT_EQ(mirror(), Json::object());
  ASSERT_TRUE(await("BLOCK_JOB_READY"));
  EXPECT_EQ(
      awaited_event().data,
      (Json{{"device", "m"}, {"type", "mirror"}, {"len", kMiB}, {"offset", kMiB}, {"speed", 0}}));
  EXPECT_EQ(story(), "created running ready READY");
  EXPECT_EQ(job(), (Json{{"device", "m"},
                         {"type", "mirror"},
                         {"status", "ready"},
                         {"len", kMiB},
                         {"offset", kMiB},
                         {"speed", 0},
                         {"busy", false},
                         {"paused", false},
                         {"ready", true},
                         {"io-status", "ok"},
                         {"auto-finalize", true},
                         {"auto-dismiss", false}}));
  EXPECT_EQ(verb("job-complete"), Json::object());
  ASSERT_TRUE(await("JOB_STATUS_CHANGE", "concluded"));
  EXPECT_EQ(story(), "waiting pending COMPLETED concluded");
  EXPECT_EQ(run("query-block")[0]["inserted"]["node-name"], "libvirt-4-format");
  EXPECT_EQ(guest_reads(), testing::kChainReads);
  EXPECT_EQ(verb("job-dismiss"), Json::object());
  EXPECT_EQ(story(), "null");
  EXPECT_EQ(run("query-jobs"), Json::array());
  EXPECT_EQ(run("blockdev-del", {{"node-name", "libvirt-1-format"}}), Json::object());
  EXPECT_EQ(copy_reads(), testing::kChainReads);
}

TEST_F(MirrorLife, TopCopiesTheTopLayerAlone) {
  mirror({{"sync", "top"}});
  ASSERT_TRUE(await("BLOCK_JOB_READY"));
  EXPECT_EQ(awaited_event().data["len"], 3 * 65536);
  verb("block-job-cancel");
  ASSERT_TRUE(await("JOB_STATUS_CHANGE", "concluded"));
  EXPECT_EQ(copy_reads(), "0003000033000000");
}

TEST_F(MirrorLife, NoneCopiesWhatTheGuestWritesFromNowOn) {
  mirror({{"sync", "none"}});
  ASSERT_TRUE(await("BLOCK_JOB_READY"));
  EXPECT_EQ(awaited_event().data["len"], 0);
  guest_writes(8, 1);
  verb("block-job-cancel");
  ASSERT_TRUE(await("JOB_STATUS_CHANGE", "concluded"));
  EXPECT_EQ(copy_reads(), "0800000000000000");
}

// A guest's write makes its whole granule dirty; the default follows the target's clusters.
TEST_F(MirrorLife, CopiesInGranules) {
  for (const auto& [granularity, dirty] :
       {std::pair{512U, 512U}, {4096U, 4096U}, {0U, 65536U}, {1U << 20, 1U << 20}}) {
    Json arguments = {{"sync", "none"}};
    if (granularity != 0) arguments["granularity"] = granularity;
    mirror(arguments);
    ASSERT_TRUE(await("BLOCK_JOB_READY"));
    guest("write -q -P 9 0 1");
    pass(1000);
    EXPECT_EQ(job()["len"], dirty) << granularity;
    EXPECT_EQ(job()["offset"], dirty);
    verb("job-cancel");
    ASSERT_TRUE(await("JOB_STATUS_CHANGE", "concluded"));
    verb("job-dismiss");
  }
}

TEST_F(MirrorLife, CancelledWhenReadyTheCopyIsWhole) {
  mirror();
  ASSERT_TRUE(await("BLOCK_JOB_READY"));
  guest_writes(7, 2);
  story();
  EXPECT_EQ(verb("block-job-cancel"), Json::object());
  ASSERT_TRUE(await("JOB_STATUS_CHANGE", "concluded"));
  EXPECT_EQ(story(), "waiting pending COMPLETED concluded");
  EXPECT_FALSE(job().contains("error"));
  EXPECT_EQ(run("query-block")[0]["inserted"]["node-name"], "libvirt-1-format") << "no pivot";
  EXPECT_EQ(copy_reads(), "1173221133111111");
}

TEST_F(MirrorLife, CancelledByForceItAborts) {
  for (const char* how : {"job-cancel", "force"}) {
    mirror();
    ASSERT_TRUE(await("BLOCK_JOB_READY"));
    story();
    if (std::string(how) == "force")
      run("block-job-cancel", {{"device", "m"}, {"force", true}});
    else
      verb("job-cancel");
    ASSERT_TRUE(await("JOB_STATUS_CHANGE", "concluded"));
    EXPECT_EQ(story(), "aborting CANCELLED concluded") << how;
    EXPECT_EQ(run("query-jobs")[0]["error"], "Operation canceled");
    verb("job-dismiss");
    story();
  }
}

TEST_F(MirrorLife, CancelledBeforeReadyItAbortsHoweverAsked) {
  for (const Json& force : {Json(false), Json(true)}) {
    mirror({{"speed", 1}, {"sync", "top"}});
    pass(100);
    EXPECT_EQ(story(), "created running");
    run("block-job-cancel", {{"device", "m"}, {"force", force}});
    ASSERT_TRUE(await("JOB_STATUS_CHANGE", "concluded"));
    EXPECT_EQ(story(), "aborting CANCELLED concluded");
    verb("job-dismiss");
    story();
  }
}

TEST_F(MirrorLife, WaitsToBeFinalized) {
  mirror({{"auto-finalize", false}});
  ASSERT_TRUE(await("BLOCK_JOB_READY"));
  story();
  verb("job-complete");
  ASSERT_TRUE(await("BLOCK_JOB_PENDING"));
  EXPECT_EQ(awaited_event().data, (Json{{"type", "mirror"}, {"id", "m"}}));
  EXPECT_EQ(story(), "waiting pending PENDING");
  EXPECT_EQ(job()["paused"], true) << "its nodes are kept still";
  EXPECT_EQ(refusal("job-complete", {{"id", "m"}}),
            "Job 'm' in state 'pending' cannot accept command verb 'complete'");
  EXPECT_EQ(verb("job-finalize"), Json::object());
  EXPECT_EQ(story(), "COMPLETED concluded");
  EXPECT_EQ(guest_reads(), testing::kChainReads);
}

TEST_F(MirrorLife, APendingJobMayStillBeCancelled) {
  mirror({{"auto-finalize", false}});
  ASSERT_TRUE(await("BLOCK_JOB_READY"));
  verb("job-complete");
  ASSERT_TRUE(await("BLOCK_JOB_PENDING"));
  story();
  verb("job-cancel");
  EXPECT_EQ(story(), "aborting CANCELLED concluded");
  EXPECT_EQ(run("query-block")[0]["inserted"]["node-name"], "libvirt-1-format");
}

TEST_F(MirrorLife, DismissesItself) {
  mirror({{"auto-dismiss", true}});
  ASSERT_TRUE(await("BLOCK_JOB_READY"));
  verb("job-complete");
  ASSERT_TRUE(await("JOB_STATUS_CHANGE", "null"));
  EXPECT_EQ(story(), "created running ready READY waiting pending COMPLETED concluded null");
  EXPECT_EQ(run("query-jobs"), Json::array());
}

TEST_F(MirrorLife, AnotherSizeFailsTheJobAndNotTheCommand) {
  create("/bigger", 2 * kMiB);
  add("/bigger", 5, nullptr, false);
  story();
  EXPECT_EQ(mirror({{"target", "libvirt-5-format"}}), Json::object());
  ASSERT_TRUE(await("JOB_STATUS_CHANGE", "concluded"));
  EXPECT_EQ(story(), "created running aborting COMPLETED concluded");
  EXPECT_EQ(run("query-jobs")[0]["error"], "Source and target image have different sizes");
  EXPECT_EQ(guest_reads(), testing::kChainReads);
}

TEST_F(MirrorLife, QuitEndsIt) {
  mirror();
  ASSERT_TRUE(await("BLOCK_JOB_READY"));
  story();
  EXPECT_EQ(run("quit"), Json::object());
  EXPECT_TRUE(machine_->has_quit());
  EXPECT_EQ(events_.front().name, "SHUTDOWN");
  EXPECT_EQ(events_.front().data, (Json{{"guest", false}, {"reason", "host-qmp-quit"}}));
  // It is drained before (measured on 7.2).
  EXPECT_EQ(story(), "standby ready aborting CANCELLED concluded null");
}

}  // namespace
}  // namespace sim::machine
