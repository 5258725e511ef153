// Refusals, roll-back and what goes wrong, against what real libvirt was seen to do.

#include "conformance/domain/domain.h"

#include <chrono>

#include "conformance/domain/fake_target.h"

namespace conformance {
namespace {

using testing::kDirectory;
using testing::outcome_of;
using namespace std::chrono_literals;
using Commands = std::vector<std::string>;

const std::string kCopy = kDirectory + "/copy";

struct Fixture {
  explicit Fixture(bool persistent = false) {
    const std::string top = testing::make_source(files, "chain3");
    files.raw("full", 1000);
    auto started = Domain::start(hypervisor, files,
                                 {.disks = {{"vda", top, "qcow2"}}, .persistent = persistent});
    EXPECT_EQ(outcome_of(started), "ok");
    domain = *std::move(started);
    hypervisor.sent.clear();
  }
  // The copy with these flags besides COPY.
  Json copy(std::uint32_t flags = 0, const std::string& to = kCopy) {
    return outcome_of(domain->block_rebase("vda", to, 0, kRebaseCopy | flags));
  }
  std::string next_status() {
    auto event = domain->next_event(1ms);
    if (!event.has_value()) return "failure";
    return *event ? (*event)->status : "none";
  }

  testing::MapFiles files;
  testing::ObligingHypervisor hypervisor;
  std::unique_ptr<Domain> domain;
};

Json error(const std::string& code, const std::string& message) {
  return {{"domain", "QEMU"}, {"code", code}, {"message", message}};
}

TEST(Errors, AreLibvirts) {
  const Json table = testing::load("libvirt_9_0_errors.json");
  ASSERT_GT(table["rows"].size(), 100U);
  for (const Json& row : table["rows"]) {
    SCOPED_TRACE(row.dump());
    const std::string state = row["state"];
    Fixture on(state.starts_with("persistent"));
    on.hypervisor.held = state == "copy not ready";
    if (state.starts_with("copy")) {
      ASSERT_EQ(on.copy(), "ok");
      ASSERT_EQ(on.next_status(), on.hypervisor.held ? "none" : "READY");
    }
    const auto files = on.files.files;
    on.hypervisor.sent.clear();
    const std::string call = row["call"];
    const std::string disk = row["disk"];
    const std::uint32_t flags = row["flags"];
    Json result;
    if (call == "blockRebase") {
      std::optional<std::string> base;
      if (!row["base"].is_null()) base = row["base"];
      result = outcome_of(on.domain->block_rebase(disk, base, row["bandwidth"], flags));
    } else if (call == "blockJobAbort") {
      result = outcome_of(on.domain->block_job_abort(disk, flags));
    } else if (call == "blockJobSetSpeed") {
      result = outcome_of(on.domain->block_job_set_speed(disk, row["bandwidth"], flags));
    } else {
      ASSERT_EQ(call, "blockJobInfo");
      result = outcome_of(on.domain->block_job_info(disk, flags));
    }
    EXPECT_EQ(result, row["error"]);
    EXPECT_EQ(on.hypervisor.sent, Commands());
    EXPECT_EQ(on.files.files, files);
  }
}

TEST(Errors, BandwidthLimitsAreAccepted) {
  Fixture mib;
  EXPECT_EQ(outcome_of(mib.domain->block_rebase("vda", kCopy, 8796093022207, kRebaseCopy)), "ok");
  EXPECT_EQ(mib.hypervisor.mirrors.at(0)["speed"], 9223372036853727232);
  Fixture bytes;
  EXPECT_EQ(outcome_of(bytes.domain->block_rebase("vda", kCopy, 9223372036854775807,
                                                  kRebaseCopy | kRebaseBandwidthBytes)),
            "ok");
  EXPECT_EQ(bytes.hypervisor.mirrors.at(0)["speed"], 9223372036854775807);
}

// REUSE_EXT onto the disk's own image: the second blockdev-add is refused.
TEST(RollBack, OfAnImageThatQemuDoesNotOpen) {
  Fixture on;
  on.hypervisor.refusals[{"blockdev-add", 7}] = "Failed to get \"write\" lock";
  EXPECT_EQ(on.copy(kRebaseReuseExt, kDirectory + "/snap2"),
            error("INTERNAL_ERROR",
                  "unable to execute QEMU command 'blockdev-add': Failed to get \"write\" lock"));
  EXPECT_EQ(on.hypervisor.sent, (Commands{"blockdev-add", "blockdev-add", "blockdev-del"}));
  EXPECT_TRUE(on.files.files.contains(kDirectory + "/snap2"));
  EXPECT_EQ(on.copy(), "ok");
}

TEST(RollBack, UnlinksWhatItCreatedWhenTheFirstNodeIsRefused) {
  Fixture on;
  on.hypervisor.refusals[{"blockdev-add", 6}] = "no";
  EXPECT_EQ(on.copy(),
            error("INTERNAL_ERROR", "unable to execute QEMU command 'blockdev-add': no"));
  EXPECT_EQ(on.hypervisor.sent, (Commands{"query-named-block-nodes", "blockdev-add"}));
  EXPECT_FALSE(on.files.files.contains(kCopy));
}

TEST(RollBack, LeavesAReusedFile) {
  Fixture on;
  on.hypervisor.refusals[{"blockdev-add", 6}] = "no";
  EXPECT_NE(on.copy(kRebaseReuseExt, kDirectory + "/full"), "ok");
  EXPECT_EQ(on.hypervisor.sent, (Commands{"blockdev-add"}));
  EXPECT_TRUE(on.files.files.contains(kDirectory + "/full"));
}

// Measured with an empty destination that another process had locked.
TEST(RollBack, OfAFailedCreation) {
  Fixture on;
  on.files.raw("copy", 0);
  on.hypervisor.create_error = "Failed to lock byte 101";
  EXPECT_EQ(on.copy(),
            error("OPERATION_FAILED", "failed to format image: 'Failed to lock byte 101'"));
  EXPECT_EQ(on.hypervisor.sent,
            (Commands{"query-named-block-nodes", "blockdev-add", "blockdev-create", "query-jobs",
                      "job-dismiss", "blockdev-del", "blockdev-del"}));
  EXPECT_FALSE(on.files.files.contains(kCopy));
}

TEST(RollBack, OfARefusedMirror) {
  Fixture on;
  on.hypervisor.refusals[{"blockdev-mirror", 0}] = "no";
  EXPECT_EQ(on.copy(),
            error("INTERNAL_ERROR", "unable to execute QEMU command 'blockdev-mirror': no"));
  EXPECT_EQ(on.hypervisor.sent.back(), "blockdev-del");
  EXPECT_FALSE(on.files.files.contains(kCopy));
  EXPECT_EQ(outcome_of(on.domain->block_job_abort("vda", 0)),
            error("INVALID_ARG", "disk vda does not have an active block job"));
}

// "Indexes are not reused after an abort (the next target is libvirt-5)."
TEST(Nodes, IndexesAreNotReused) {
  Fixture on;
  ASSERT_EQ(on.copy(), "ok");
  ASSERT_EQ(outcome_of(on.domain->block_job_abort("vda", 0)), "ok");
  ASSERT_EQ(on.copy(kRebaseReuseExt), "ok");
  EXPECT_EQ(on.hypervisor.mirrors.at(1)["target"], "libvirt-5-format");
  EXPECT_EQ(on.hypervisor.mirrors.at(1)["job-id"], "copy-vda-libvirt-1-format");
}

// testdata/libvirt_9_0_snapshots.json, t1.
TEST(Nodes, AreNumberedFromTheLastDisk) {
  testing::MapFiles files;
  testing::ObligingHypervisor hypervisor;
  const std::string top = testing::make_source(files, "chain3");
  files.raw("data");
  auto domain = Domain::start(
      hypervisor, files, {.disks = {{"vda", top, "qcow2"}, {"vdb", kDirectory + "/data", "raw"}}});
  ASSERT_EQ(outcome_of(domain), "ok");
  ASSERT_EQ(outcome_of((*domain)->block_rebase("vdb", kCopy, 0, kRebaseCopy)), "ok");
  EXPECT_EQ(hypervisor.mirrors.at(0)["device"], "libvirt-1-format");
  EXPECT_EQ(hypervisor.mirrors.at(0)["job-id"], "copy-vdb-libvirt-1-format");
  EXPECT_EQ(*(*domain)->qdev("vdb"), "/machine/peripheral/virtio-disk1/virtio-backend");
  // A job on one disk is none on the other; both may run.
  ASSERT_EQ(outcome_of((*domain)->block_rebase("vda", kCopy + "2", 0, kRebaseCopy)), "ok");
  EXPECT_EQ(hypervisor.mirrors.at(1)["job-id"], "copy-vda-libvirt-2-format");
  EXPECT_EQ((*(*domain)->next_event(1ms))->disk, "vdb");
  EXPECT_EQ((*(*domain)->next_event(1ms))->disk, "vda");
}

TEST(Abort, AddressedByTheActivePath) {
  Fixture on;
  ASSERT_EQ(outcome_of(on.domain->block_rebase(kDirectory + "/snap2", kCopy, 0, kRebaseCopy)),
            "ok");
  ASSERT_EQ(on.next_status(), "READY");
  EXPECT_EQ(outcome_of(on.domain->block_job_abort(kDirectory + "/snap2", kAbortPivot)), "ok");
  EXPECT_EQ(on.next_status(), "COMPLETED");
  EXPECT_EQ(on.domain->chain("vda")->links.at(0).path, kCopy);
}

TEST(Abort, AnsweredWhileAnotherIsUnderWay) {
  Fixture on;
  ASSERT_EQ(on.copy(), "ok");
  ASSERT_EQ(outcome_of(on.domain->block_job_abort("vda", kAbortAsync)), "ok");
  EXPECT_EQ(outcome_of(on.domain->block_job_abort("vda", 0)),
            error("OPERATION_INVALID", "block job on disk 'vda' is still being ended"));
}

TEST(Pivot, ThatFailsKeepsTheOldChain) {
  Fixture on;
  ASSERT_EQ(on.copy(), "ok");
  ASSERT_EQ(on.next_status(), "READY");
  on.hypervisor.mirror_error = "No space left on device";
  EXPECT_EQ(outcome_of(on.domain->block_job_abort("vda", kAbortPivot)),
            error("OPERATION_FAILED",
                  "block job 'copy-vda-libvirt-1-format' failed while "
                  "pivoting: No space left on device"));
  EXPECT_EQ(on.next_status(), "FAILED");
  EXPECT_EQ(on.domain->chain("vda")->links.at(0).path, kDirectory + "/snap2");
  EXPECT_FALSE(on.domain->mirror("vda")->has_value());
}

// The chain opened for the pivot goes again, and the job stays ready.
TEST(Pivot, WhoseSnapshotIsRefusedCanBeTriedAgain) {
  Fixture on;
  testing::make_destination(on.files, "qcow2-right-backing");
  ASSERT_EQ(on.copy(kRebaseShallow | kRebaseReuseExt), "ok");
  ASSERT_EQ(on.next_status(), "READY");
  on.hypervisor.refusals[{"transaction", 0}] = "no";
  on.hypervisor.sent.clear();
  EXPECT_EQ(outcome_of(on.domain->block_job_abort("vda", kAbortPivot)),
            error("INTERNAL_ERROR", "unable to execute QEMU command 'transaction': no"));
  EXPECT_EQ(on.hypervisor.sent,
            (Commands{"blockdev-add", "blockdev-add", "blockdev-add", "blockdev-add",
                      "transaction(blockdev-snapshot)", "blockdev-del", "blockdev-del",
                      "blockdev-del", "blockdev-del"}));
  EXPECT_EQ((*on.domain->mirror("vda"))->ready, "yes");
  on.hypervisor.sent.clear();
  EXPECT_EQ(outcome_of(on.domain->block_job_abort("vda", 0)), "ok");
  EXPECT_EQ(on.hypervisor.sent, (Commands{"block-job-cancel", "query-jobs", "job-dismiss",
                                          "blockdev-del", "blockdev-del"}));
}

TEST(Hang, AnEventThatDoesNotComeIsTheTargetsFailure) {
  Fixture on;
  ASSERT_EQ(on.copy(), "ok");
  on.hypervisor.silent = true;
  const auto aborted = on.domain->block_job_abort("vda", 0);
  ASSERT_FALSE(aborted.has_value());
  EXPECT_EQ(std::get<TargetFailure>(aborted.error()).kind, TargetFailure::Kind::hang);
}

}  // namespace
}  // namespace conformance
