// The lock manager and the labels: libvir-list, January 2012 ("no image is ever reverted if the
// lock manager says a file is in use", pools that "track files that serve as base images to more
// than one other images"), March 2014 ("the security label on backing stores is readonly while the
// top-most file is read-write", "revert read-write privileges of backing stores").

#include <chrono>
#include <functional>

#include "conformance/domain/domain.h"
#include "conformance/domain/fake_target.h"
#include "conformance/domain/watch_for_test.h"

namespace conformance {
namespace {

using testing::kDirectory;
using testing::outcome_of;
using namespace std::chrono_literals;
using enum LeaseMode;

std::string path(const std::string& file) { return kDirectory + "/" + file; }

Json locked(const std::string& file, const std::string& holder) {
  return {{"domain", "LOCKSPACE"},
          {"code", "RESOURCE_BUSY"},
          {"message", "Lockspace resource '" + path(file) + "' is locked by '" + holder + "'"}};
}

// By file name.
Leases leases(std::initializer_list<std::pair<const char*, LeaseMode>> list) {
  Leases all;
  for (const auto& [file, mode] : list) all[path(file)] = mode;
  return all;
}

// base <- snap1 <- snap2 <- snap3, and images to copy onto.
struct Fixture {
  Fixture() {
    testing::make_source(files, "chain4");
    files.qcow2("bare");
    files.qcow2("other");
    files.qcow2("over", path("other"));
  }
  DomainResult<void> start(std::vector<DiskDefinition> disks = {{"vda", path("snap3"), "qcow2"}}) {
    DomainDefinition definition = watch.over({.disks = std::move(disks)});
    definition.keep_status = [this](const std::string& text) { status = text; };
    auto started = Domain::start(watch.order, files, definition);
    if (!started) return std::unexpected(std::move(started).error());
    domain = *std::move(started);
    hypervisor.sent.clear();
    return {};
  }
  void hold(const std::string& holder, const Leases& wanted) {
    ASSERT_FALSE(watch.locks.hold(holder, wanted));
  }
  Leases held(const std::string& disk = "vda") { return watch.locks.held_by("domain/" + disk); }
  Json labels() {
    Json all = Json::object();
    for (const auto& [file, label] : watch.labels.set_by("domain/vda"))
      all[file.substr(kDirectory.size() + 1)] = label == Label::read_write ? "write" : "read";
    return all;
  }
  std::string next_status() {
    auto event = domain->next_event(1ms);
    return event.has_value() && *event ? (*event)->status : "none";
  }

  testing::MapFiles files;
  testing::ObligingHypervisor hypervisor;
  testing::Watch watch{hypervisor, files};
  std::string status;
  std::unique_ptr<Domain> domain;
};

const Json kChainLabels = {
    {"snap3", "write"}, {"snap2", "read"}, {"snap1", "read"}, {"base", "read"}};
const Leases kChainLeases =
    leases({{"snap3", exclusive}, {"snap2", shared}, {"snap1", shared}, {"base", shared}});

TEST(Start, TakesTheChain) {
  Fixture on;
  ASSERT_EQ(outcome_of(on.start()), "ok");
  EXPECT_EQ(on.held(), kChainLeases);
  EXPECT_EQ(on.labels(), kChainLabels);
  on.domain->stopped();
  EXPECT_EQ(on.held(), Leases());
  EXPECT_EQ(on.labels(), Json::object());
}

TEST(Start, OfWhatAnotherWritesIsRefused) {
  Fixture on;
  on.hold("guest2/vda", leases({{"snap1", exclusive}}));
  EXPECT_EQ(outcome_of(on.start()), locked("snap1", "guest2/vda"));
  EXPECT_EQ(on.hypervisor.sent, std::vector<std::string>());
  EXPECT_EQ(on.held(), Leases());
  EXPECT_EQ(on.labels(), Json::object());
}

TEST(Start, ThatQemuRefusesHoldsNothing) {
  Fixture on;
  on.hypervisor.refusals[{"device_add", 0}] = "no";
  EXPECT_NE(outcome_of(on.start()), "ok");
  EXPECT_EQ(on.held(), Leases());
  EXPECT_EQ(on.labels(), Json::object());
}

TEST(Start, OfTheSameImageTwiceIsRefused) {
  Fixture on;
  EXPECT_EQ(
      outcome_of(on.start({{"vda", path("snap3"), "qcow2"}, {"vdb", path("snap1"), "qcow2"}})),
      locked("snap1", "domain/vda"));
  EXPECT_TRUE(on.watch.locks.by_holder().empty());
}

// --- what a job holds ----------------------------------------------------------------------------

struct Work {
  const char* name;
  std::function<DomainResult<void>(Domain&)> begin;
  Leases leases;  // while it runs
  Json labels;
};
DomainResult<void> commit(Domain& domain, const char* base, const char* top, std::uint32_t flags) {
  return domain.block_commit("vda", base == nullptr ? std::nullopt : std::optional(path(base)),
                             top == nullptr ? std::nullopt : std::optional(path(top)), 0, flags);
}
DomainResult<void> copy(Domain& domain, const char* to, std::uint32_t flags) {
  return domain.block_rebase("vda", path(to), 0, kRebaseCopy | flags);
}

const Work kWorks[] = {
    {"pull", [](Domain& domain) { return domain.block_pull("vda", 0, 0); }, kChainLeases,
     kChainLabels},
    {"pull to snap1",
     [](Domain& domain) { return domain.block_rebase("vda", path("snap1"), 0, 0); }, kChainLeases,
     kChainLabels},
    // The image above the top gets another backing file name.
    {"commit snap1 into base",
     [](Domain& domain) { return commit(domain, nullptr, "snap1", 0); },
     leases({{"snap3", exclusive}, {"snap2", exclusive}, {"snap1", shared}, {"base", exclusive}}),
     {{"snap3", "write"}, {"snap2", "write"}, {"snap1", "read"}, {"base", "write"}}},
    {"commit snap2 into base, delete",
     [](Domain& domain) { return commit(domain, nullptr, "snap2", kCommitDelete); },
     leases(
         {{"snap3", exclusive}, {"snap2", exclusive}, {"snap1", exclusive}, {"base", exclusive}}),
     {{"snap3", "write"}, {"snap2", "read"}, {"snap1", "read"}, {"base", "write"}}},
    {"commit snap2 into snap1",
     [](Domain& domain) { return commit(domain, "snap1", "snap2", 0); },
     leases({{"snap3", exclusive}, {"snap2", shared}, {"snap1", exclusive}, {"base", shared}}),
     {{"snap3", "write"}, {"snap2", "read"}, {"snap1", "write"}, {"base", "read"}}},
    {"active commit",
     [](Domain& domain) { return commit(domain, nullptr, nullptr, kCommitActive); },
     leases({{"snap3", exclusive}, {"snap2", shared}, {"snap1", shared}, {"base", exclusive}}),
     {{"snap3", "write"}, {"snap2", "read"}, {"snap1", "read"}, {"base", "write"}}},
    {"active commit, delete",
     [](Domain& domain) { return commit(domain, "snap1", nullptr, kCommitActive | kCommitDelete); },
     leases({{"snap3", exclusive}, {"snap2", exclusive}, {"snap1", exclusive}, {"base", shared}}),
     {{"snap3", "write"}, {"snap2", "read"}, {"snap1", "write"}, {"base", "read"}}},
    {"copy",
     [](Domain& domain) { return copy(domain, "copy", 0); },
     leases({{"snap3", exclusive},
             {"snap2", shared},
             {"snap1", shared},
             {"base", shared},
             {"copy", exclusive}}),
     {{"snap3", "write"},
      {"snap2", "read"},
      {"snap1", "read"},
      {"base", "read"},
      {"copy", "write"}}},
    // What is beneath a reused image is opened at the pivot only, and must not change until then.
    {"reused shallow copy",
     [](Domain& domain) { return copy(domain, "over", kRebaseReuseExt | kRebaseShallow); },
     leases({{"snap3", exclusive},
             {"snap2", shared},
             {"snap1", shared},
             {"base", shared},
             {"over", exclusive},
             {"other", shared}}),
     {{"snap3", "write"},
      {"snap2", "read"},
      {"snap1", "read"},
      {"base", "read"},
      {"over", "write"},
      {"other", "read"}}},
};

TEST(Job, HoldsWhatItWritesAndGivesItBack) {
  for (const Work& work : kWorks)
    for (const bool is_aborted : {false, true}) {
      SCOPED_TRACE(std::string(work.name) + (is_aborted ? ", aborted" : ""));
      Fixture on;
      on.hypervisor.held = true;
      ASSERT_EQ(outcome_of(on.start()), "ok");
      ASSERT_EQ(outcome_of(work.begin(*on.domain)), "ok");
      EXPECT_EQ(on.held(), work.leases);
      EXPECT_EQ(on.labels(), work.labels);
      on.watch.expect_order();
      // The end of one that is aborted; else the same again, with a hypervisor that goes on.
      if (is_aborted) {
        ASSERT_EQ(outcome_of(on.domain->block_job_abort("vda", 0)), "ok");
        EXPECT_EQ(on.held(), kChainLeases);
        EXPECT_EQ(on.labels(), kChainLabels);
      } else {
        ASSERT_EQ(outcome_of(on.domain->block_job_abort("vda", 0)), "ok");
        on.hypervisor.held = false;
        while (on.next_status() != "none") continue;
        on.files.files.erase(path("copy"));
        ASSERT_EQ(outcome_of(work.begin(*on.domain)), "ok");
        if (on.next_status() == "READY")
          ASSERT_EQ(outcome_of(on.domain->block_job_abort("vda", kAbortPivot)), "ok");
      }
      on.watch.expect_only_the_chain(*on.domain);
      on.watch.expect_order();
    }
}

// --- refusals ------------------------------------------------------------------------------------

struct Obstacle {
  const char* name;
  Leases others;  // of "pool"
  std::function<DomainResult<void>(Domain&)> begin;
  const char* file;  // that is in the way; null: it is not refused
};

const Obstacle kObstacles[] = {
    {"commit into a base that is another's", leases({{"base", shared}}),
     [](Domain& domain) { return commit(domain, nullptr, "snap1", 0); }, "base"},
    {"commit above it", leases({{"base", shared}}),
     [](Domain& domain) { return commit(domain, "snap1", "snap2", 0); }, nullptr},
    {"commit out of an image that another reads", leases({{"snap1", shared}}),
     [](Domain& domain) { return commit(domain, nullptr, "snap1", 0); }, nullptr},
    {"and removing it", leases({{"snap1", shared}}),
     [](Domain& domain) { return commit(domain, nullptr, "snap1", kCommitDelete); }, "snap1"},
    {"commit beneath an image whose header changes", leases({{"snap2", shared}}),
     [](Domain& domain) { return commit(domain, nullptr, "snap1", 0); }, "snap2"},
    {"active commit", leases({{"snap1", shared}}),
     [](Domain& domain) { return commit(domain, "snap1", nullptr, kCommitActive); }, "snap1"},
    {"active commit through what another reads", leases({{"snap2", shared}}),
     [](Domain& domain) { return commit(domain, nullptr, nullptr, kCommitActive); }, nullptr},
    {"active commit, removing it", leases({{"snap2", shared}}),
     [](Domain& domain) { return commit(domain, nullptr, nullptr, kCommitActive | kCommitDelete); },
     "snap2"},
    {"pull out of what all read", leases({{"base", shared}, {"snap1", shared}}),
     [](Domain& domain) { return domain.block_pull("vda", 0, 0); }, nullptr},
    {"copy to a file that another is about to make", leases({{"copy", shared}}),
     [](Domain& domain) { return copy(domain, "copy", 0); }, "copy"},
    {"copy over a file that another reads", leases({{"bare", shared}}),
     [](Domain& domain) { return copy(domain, "bare", kRebaseReuseExt); }, "bare"},
    {"copy onto what another writes", leases({{"other", exclusive}}),
     [](Domain& domain) { return copy(domain, "over", kRebaseReuseExt | kRebaseShallow); },
     "other"},
    {"full copy over an image whose backing file does not count", leases({{"other", exclusive}}),
     [](Domain& domain) { return copy(domain, "over", kRebaseReuseExt); }, nullptr},
    {"copy by XML", leases({{"copy", shared}}),
     [](Domain& domain) {
       return domain.block_copy("vda", "<disk><source file='" + path("copy") + "'/></disk>", {}, 0);
     },
     "copy"},
};

TEST(Obstacle, IsNamedAndNothingIsTouched) {
  for (const Obstacle& obstacle : kObstacles) {
    SCOPED_TRACE(obstacle.name);
    Fixture on;
    ASSERT_EQ(outcome_of(on.start()), "ok");
    on.hold("pool", obstacle.others);
    const auto files = on.files.files;
    const std::string status = on.status;
    if (obstacle.file == nullptr) {
      EXPECT_EQ(outcome_of(obstacle.begin(*on.domain)), "ok");
      continue;
    }
    EXPECT_EQ(outcome_of(obstacle.begin(*on.domain)), locked(obstacle.file, "pool"));
    EXPECT_EQ(on.hypervisor.sent, std::vector<std::string>());
    EXPECT_EQ(on.files.files, files);
    EXPECT_EQ(on.held(), kChainLeases);
    EXPECT_EQ(on.labels(), kChainLabels);
    // It is no job, and has taken no number of a node.
    EXPECT_EQ(outcome_of(on.domain->block_job_abort("vda", 0))["code"], "INVALID_ARG");
    on.hold("pool", {});
    EXPECT_EQ(outcome_of(obstacle.begin(*on.domain)), "ok");
    EXPECT_TRUE(on.status.contains("<blockjob")) << status;
    if (!on.hypervisor.mirrors.empty())
      EXPECT_EQ(on.hypervisor.mirrors.back()["target"], "libvirt-5-format");
  }
}

TEST(Obstacle, CanBeTheSameDomainsOtherDisk) {
  Fixture on;
  on.files.qcow2("data", path("base"));
  ASSERT_EQ(outcome_of(on.start({{"vda", path("snap1"), "qcow2"}, {"vdb", path("data"), "qcow2"}})),
            "ok");
  EXPECT_EQ(outcome_of(commit(*on.domain, nullptr, nullptr, kCommitActive)),
            locked("base", "domain/vdb"));
  // Pulled out of the other, the base is the one's alone: the completion has given it back.
  ASSERT_EQ(outcome_of(on.domain->block_pull("vdb", 0, 0)), "ok");
  EXPECT_EQ(outcome_of(commit(*on.domain, nullptr, nullptr, kCommitActive))["code"],
            "RESOURCE_BUSY");
  ASSERT_EQ(on.next_status(), "COMPLETED");
  EXPECT_EQ(on.held("vdb"), leases({{"data", exclusive}}));
  EXPECT_EQ(outcome_of(commit(*on.domain, nullptr, nullptr, kCommitActive)), "ok");
}

// --- what goes wrong -----------------------------------------------------------------------------

TEST(RollBack, OfWhatQemuRefuses) {
  const std::pair<const char*, int> kRefusals[] = {{"block-commit", 0},    {"block-stream", 0},
                                                   {"blockdev-mirror", 0}, {"blockdev-create", 0},
                                                   {"blockdev-add", 8},    {"blockdev-add", 9}};
  for (const auto& refusal : kRefusals)
    for (const Work& work : kWorks) {
      SCOPED_TRACE(std::string(work.name) + " " + refusal.first);
      Fixture on;
      on.hypervisor.refusals[refusal] = "no";
      ASSERT_EQ(outcome_of(on.start()), "ok");
      const Json answer = outcome_of(work.begin(*on.domain));
      if (answer == "ok") continue;
      EXPECT_EQ(on.held(), kChainLeases);
      EXPECT_EQ(on.labels(), kChainLabels);
      on.watch.expect_order();
      if (!std::string(work.name).starts_with("reused"))
        EXPECT_FALSE(on.files.files.contains(path("copy")));
    }
}

// The host refuses to label this file.
class StubbornLabels final : public Labels {
 public:
  StubbornLabels(Labels& labels, std::string file) : labels_(labels), file_(std::move(file)) {}
  sim::Result<> set(const std::string& holder, const std::string& file, Label label) override {
    if (file == file_ && label == Label::read_write) return sim::os_error(EPERM);
    return labels_.set(holder, file, label);
  }
  LabelledFiles set_by(const std::string& holder) const override { return labels_.set_by(holder); }

 private:
  Labels& labels_;
  std::string file_;
};

TEST(RollBack, OfAFileThatCannotBeLabelled) {
  for (const char* file : {"base", "copy"}) {
    SCOPED_TRACE(file);
    Fixture on;
    StubbornLabels labels(on.watch.order, path(file));
    DomainDefinition definition = on.watch.over({.disks = {{"vda", path("snap3"), "qcow2"}}});
    definition.labels = &labels;
    on.domain = *Domain::start(on.watch.order, on.files, definition);
    on.hypervisor.sent.clear();
    const bool copies = file == std::string("copy");
    EXPECT_EQ(
        outcome_of(copies ? copy(*on.domain, "copy", 0) : commit(*on.domain, nullptr, "snap1", 0)),
        (Json{{"domain", "SECURITY"},
              {"code", "SYSTEM_ERROR"},
              {"message", "unable to set security context on '" + path(file) +
                              "': Operation not permitted"}}));
    EXPECT_EQ(on.hypervisor.sent, std::vector<std::string>());
    EXPECT_EQ(on.held(), kChainLeases);
    EXPECT_EQ(on.labels(), kChainLabels);
    EXPECT_FALSE(on.files.files.contains(path("copy")));
    on.watch.expect_order();
  }
}

TEST(Reconnect, TakesWhatTheLockManagerHasLost) {
  Fixture on;
  on.hypervisor.held = true;
  ASSERT_EQ(outcome_of(on.start()), "ok");
  ASSERT_EQ(outcome_of(commit(*on.domain, nullptr, nullptr, kCommitActive)), "ok");
  on.domain.reset();
  on.hold("domain/vda", {});
  on.hold("guest2/vda", leases({{"base", exclusive}}));
  const auto reconnect = [&] {
    return Domain::reconnect(on.watch.order, on.files, on.status, nullptr, &on.watch.locks,
                             &on.watch.order);
  };
  EXPECT_EQ(outcome_of(reconnect()), locked("base", "guest2/vda"));
  on.hold("guest2/vda", {});
  // That hypervisor knows no jobs: the commit has not begun.
  const auto domain = reconnect();
  ASSERT_EQ(outcome_of(domain), "ok");
  EXPECT_EQ(on.held(), kChainLeases);
  EXPECT_EQ(on.labels(), kChainLabels);
}

// A client that died when a call's leases and labels were there and its status was not kept yet.
TEST(Reconnect, GivesBackWhatNoJobNeeds) {
  Fixture on;
  ASSERT_EQ(outcome_of(on.start()), "ok");
  on.domain.reset();
  Leases more = kChainLeases;
  more[path("base")] = more[path("bare")] = exclusive;
  on.hold("domain/vda", more);
  for (const char* file : {"base", "bare"})
    ASSERT_TRUE(on.watch.order.set("domain/vda", path(file), Label::read_write).ok());
  on.domain = *Domain::reconnect(on.watch.order, on.files, on.status, nullptr, &on.watch.locks,
                                 &on.watch.order);
  EXPECT_EQ(on.held(), kChainLeases);
  EXPECT_EQ(on.labels(), kChainLabels);
  on.watch.expect_order();
}

}  // namespace
}  // namespace conformance
