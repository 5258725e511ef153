// A mirror at speed 1 does one batch and then waits, for ages: what scenarios hold it with.
// Every number is measured on QEMU 7.2.

#include "sim/machine/machine_for_test.h"

namespace sim::machine {
namespace {

class MirrorHeld : public testing::MachineTest {
 protected:
  void hold(Json more = Json::object()) {
    more["speed"] = 1;
    ASSERT_EQ(mirror(more), Json::object());
    pass(12'000);
    ASSERT_EQ(story(), "created running");
  }
};

TEST_F(MirrorHeld, TopHoldsAfterTheFirstRun) {
  hold({{"sync", "top"}});
  EXPECT_EQ(counts(), "3/1/2");
  EXPECT_EQ(job()["busy"], false);
  EXPECT_EQ(job()["ready"], false);
  verb("job-cancel");
  ASSERT_TRUE(await("JOB_STATUS_CHANGE", "concluded"));
  EXPECT_EQ(copy_reads(), "0003000000000000");
}

TEST_F(MirrorHeld, FullHoldsWithEverythingCopied) {
  hold();
  EXPECT_EQ(counts(), "16/16/0");
  EXPECT_EQ(job()["status"], "running");
}

TEST_F(MirrorHeld, ABatchIsAtMostTheBuffer) {
  hold({{"buf-size", 65536}});
  EXPECT_EQ(counts(), "16/1/15");
}

TEST_F(MirrorHeld, NoneIsReadyAtOnce) {
  mirror({{"sync", "none"}, {"speed", 1}});
  ASSERT_TRUE(await("BLOCK_JOB_READY"));
  EXPECT_EQ(counts(), "0/0/0");
}

TEST_F(MirrorHeld, AGuestsWriteWaits) {
  hold({{"sync", "top"}});
  guest_writes(9, 5);
  pass(2'000);
  EXPECT_EQ(counts(), "3/1/3");
  EXPECT_EQ(story(), "");
}

TEST_F(MirrorHeld, WithoutSpeedItGoesOn) {
  hold({{"sync", "top"}});
  guest_writes(9, 5);
  EXPECT_EQ(run("block-job-set-speed", {{"device", "m"}, {"speed", 1}}), Json::object());
  pass(2'000);
  EXPECT_EQ(story(), "") << "the same speed does not wake it";
  EXPECT_EQ(run("block-job-set-speed", {{"device", "m"}, {"speed", 0}}), Json::object());
  ASSERT_TRUE(await("BLOCK_JOB_READY"));
  EXPECT_EQ(counts(), "4/4/0") << "len has grown by the write";
  verb("block-job-cancel");
  ASSERT_TRUE(await("JOB_STATUS_CHANGE", "concluded"));
  EXPECT_EQ(copy_reads(), "0003090033000000");
}

TEST_F(MirrorHeld, PausedAndResumedItDoesAnotherBatch) {
  hold({{"sync", "top"}});
  EXPECT_EQ(verb("job-pause"), Json::object());
  EXPECT_EQ(story(), "paused") << "told before the reply";
  EXPECT_EQ(job()["status"], "paused");
  EXPECT_EQ(job()["paused"], true);
  EXPECT_EQ(refusal("job-pause", {{"id", "m"}}), "Job is already paused");
  EXPECT_EQ(refusal("block-job-cancel", {{"device", "m"}}),
            "The block job for device 'm' is currently paused");
  pass(1'000);
  EXPECT_EQ(counts(), "3/1/2");
  EXPECT_EQ(verb("job-resume"), Json::object());
  EXPECT_EQ(refusal("job-resume", {{"id", "m"}}), "Can't resume a job that was not paused");
  pass(1'000);
  EXPECT_EQ(story(), "running");
  EXPECT_EQ(counts(), "3/3/0") << "the second run, of two granules";
}

TEST_F(MirrorHeld, CancelledWhilePausedItEnds) {
  hold({{"sync", "top"}});
  verb("job-pause");
  story();
  run("block-job-cancel", {{"device", "m"}, {"force", true}});
  ASSERT_TRUE(await("JOB_STATUS_CHANGE", "concluded"));
  EXPECT_EQ(story(), "running aborting CANCELLED concluded");
}

TEST_F(MirrorHeld, ReadyIsNotHeld) {
  mirror();
  ASSERT_TRUE(await("BLOCK_JOB_READY"));
  run("block-job-set-speed", {{"device", "m"}, {"speed", 1}});
  guest_writes(9, 5);
  pass(1'000);
  EXPECT_EQ(counts(), "17/17/0");
}

TEST_F(MirrorHeld, PausedWhenReadyItCompletesOnceResumed) {
  mirror();
  ASSERT_TRUE(await("BLOCK_JOB_READY"));
  story();
  verb("job-pause");
  EXPECT_EQ(story(), "standby");
  guest_writes(9, 5);
  EXPECT_EQ(verb("job-complete"), Json::object());
  pass(1'000);
  EXPECT_EQ(story(), "");
  EXPECT_EQ(job()["offset"], 1 << 20) << "nothing is copied meanwhile";
  verb("job-resume");
  ASSERT_TRUE(await("JOB_STATUS_CHANGE", "concluded"));
  EXPECT_EQ(story(), "ready waiting pending COMPLETED concluded") << "READY is told once";
  EXPECT_EQ(guest_reads(), "1113291133111111");
}

}  // namespace
}  // namespace sim::machine
