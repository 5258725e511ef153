// A client that dies at every point at which it can be cut off, and another that takes over.

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "conformance/check/files.h"
#include "conformance/domain/domain.h"
#include "conformance/domain/watch_for_test.h"
#include "conformance/inspect/inspector.h"
#include "conformance/model/domain_model.h"
#include "conformance/run/describe.h"
#include "conformance/run/images.h"
#include "conformance/run/scenarios_for_test.h"

namespace conformance {
namespace {

using std::chrono::milliseconds;

// Lets through so many commands; the client dies at the next, before or after that is executed.
class Mortal final : public Hypervisor {
 public:
  Mortal(Hypervisor& hypervisor, unsigned commands, bool is_executed)
      : hypervisor_(hypervisor), left_(commands), is_executed_(is_executed) {}

  bool is_dead() const { return dead_; }

  Outcome<Json> execute(std::string_view command, const Json& arguments) override {
    if (dead_) return gone();
    if (left_-- > 0) return hypervisor_.execute(command, arguments);
    dead_ = true;
    if (is_executed_) static_cast<void>(hypervisor_.execute(command, arguments).has_value());
    return gone();
  }
  Outcome<std::optional<Event>> poll_event() override {
    if (dead_) return gone();
    return hypervisor_.poll_event();
  }
  Outcome<std::optional<Event>> next_event(milliseconds limit) override {
    if (dead_) return gone();
    return hypervisor_.next_event(limit);
  }

 private:
  static std::unexpected<TargetFailure> gone() {
    return std::unexpected(TargetFailure{TargetFailure::Kind::harness, "the client is dead"});
  }
  Hypervisor& hypervisor_;
  unsigned left_;
  bool is_executed_;
  bool dead_ = false;
};

std::string text_of(const DomainFailure& failure) {
  if (const auto* error = std::get_if<DomainError>(&failure)) return error->message;
  return std::get<TargetFailure>(failure).detail;
}

// False as soon as a call fails, which a dying client's do.
bool wait_for(Domain& domain, const std::string& status) {
  for (;;) {
    const auto event = domain.next_event(milliseconds(60'000));
    if (!event || !*event) return false;
    if ((*event)->status == status) return true;
  }
}

struct Flow {
  std::string name;
  std::function<bool(Domain&, const std::string& directory)> run;
  Dialect dialect = Dialect::as_libvirt;
  CopyRecipe recipe = CopyRecipe::blockdev;
};

using Run = std::function<bool(Domain&, const std::string& directory)>;

Run copied(std::uint32_t flags, const char* file, std::uint32_t end) {
  return [=](Domain& domain, const std::string& directory) {
    return domain.block_rebase("vda", directory + "/" + file, 0, kRebaseCopy | flags) &&
           wait_for(domain, "READY") && domain.block_job_abort("vda", end);
  };
}

Run active_commit(std::uint32_t flags, std::uint32_t end) {
  return [=](Domain& domain, const std::string&) {
    return domain.block_commit("vda", std::nullopt, std::nullopt, 0, kCommitActive | flags) &&
           wait_for(domain, "READY") && domain.block_job_abort("vda", end);
  };
}

Run committed(std::uint32_t flags) {
  return [=](Domain& domain, const std::string& directory) {
    return domain.block_commit("vda", std::nullopt, directory + "/snap1", 0, flags) &&
           wait_for(domain, "COMPLETED");
  };
}

Run by_document(std::uint32_t flags, const char* file, std::uint32_t end) {
  return [=](Domain& domain, const std::string& directory) {
    return domain.block_copy(
               "vda",
               "<disk type='file'><driver type='qcow2'/><source file='" + directory + "/" + file +
                   "'/><backingStore type='file'><format type='qcow2'/>"
                   "<source file='" +
                   directory +
                   "/snap1'/><backingStore type='file'><format type='qcow2'/>"
                   "<source file='" +
                   directory + "/base'/><backingStore/></backingStore></backingStore></disk>",
               {}, kCopyShallow | flags) &&
           wait_for(domain, "READY") && domain.block_job_abort("vda", end);
  };
}

bool create(Domain& domain, const char* name, std::uint32_t flags) {
  return domain
      .snapshot_create_xml(
          "<domainsnapshot><name>" + std::string(name) + "</name></domainsnapshot>", flags)
      .has_value();
}

// Snapshots s1 to s3, and one of them deleted.
Run snapshots(std::uint32_t flags, const char* deleted) {
  return [=](Domain& domain, const std::string&) {
    return create(domain, "s1", flags) && create(domain, "s2", flags) &&
           create(domain, "s3", flags) &&
           (deleted == nullptr || domain.snapshot_delete(deleted, 0));
  };
}

std::vector<Flow> snapshot_flows() {
  return {
      {"snapshots", snapshots(kSnapshotDiskOnly, nullptr)},
      {"snapshots, first deleted", snapshots(kSnapshotDiskOnly, "s1")},
      {"snapshots, last deleted", snapshots(kSnapshotDiskOnly, "s3")},
      {"internal snapshots, one deleted", snapshots(0, "s2")},
      {"snapshot of a reused image",
       [](Domain& domain, const std::string& directory) {
         return domain
             .snapshot_create_xml(
                 "<domainsnapshot><name>s1</name><disks><disk name='vda'><source "
                 "file='" +
                     directory + "/fits'/></disk></disks></domainsnapshot>",
                 kSnapshotDiskOnly | kSnapshotReuseExt)
             .has_value();
       }},
  };
}

std::vector<Flow> drive_flows() {
  return {
      {"drive full copy, pivot", copied(0, "copy", kAbortPivot), Dialect::as_libvirt,
       CopyRecipe::drive},
      {"drive shallow copy, pivot", copied(kRebaseShallow, "copy", kAbortPivot),
       Dialect::as_libvirt, CopyRecipe::drive},
      {"drive raw copy, pivot", copied(kRebaseCopyRaw, "copy", kAbortPivot), Dialect::as_libvirt,
       CopyRecipe::drive},
      {"drive reused copy over a chain, pivot", copied(kRebaseReuseExt, "over", kAbortPivot),
       Dialect::as_libvirt, CopyRecipe::drive},
      {"drive reused shallow copy, pivot",
       copied(kRebaseReuseExt | kRebaseShallow, "over", kAbortPivot), Dialect::as_libvirt,
       CopyRecipe::drive},
      {"drive shallow copy, abort", copied(kRebaseShallow, "copy", 0), Dialect::as_libvirt,
       CopyRecipe::drive},
      {"drive reused shallow copy, abort", copied(kRebaseReuseExt | kRebaseShallow, "over", 0),
       Dialect::as_libvirt, CopyRecipe::drive},
      {"a drive copy, then a commit",
       [](Domain& domain, const std::string& directory) {
         return domain.block_rebase("vda", directory + "/over", 0,
                                    kRebaseCopy | kRebaseShallow | kRebaseReuseExt) &&
                wait_for(domain, "READY") && domain.block_job_abort("vda", kAbortPivot) &&
                domain.block_commit("vda", std::nullopt, std::nullopt, 0, kCommitActive) &&
                wait_for(domain, "READY") && domain.block_job_abort("vda", kAbortPivot);
       },
       Dialect::as_libvirt, CopyRecipe::drive},
  };
}

std::vector<Flow> copy_flows() {
  return {
      {"shallow copy over a chain of its own, pivot", by_document(0, "copy", kAbortPivot)},
      {"shallow copy over a chain of its own, abort", by_document(0, "copy", 0)},
      {"reused copy over a chain of its own, pivot",
       by_document(kCopyReuseExt, "over", kAbortPivot)},
      {"full copy, pivot", copied(0, "copy", kAbortPivot)},
      {"shallow copy, pivot", copied(kRebaseShallow, "copy", kAbortPivot)},
      {"raw copy, pivot", copied(kRebaseCopyRaw, "copy", kAbortPivot)},
      {"reused copy, pivot", copied(kRebaseReuseExt, "bare", kAbortPivot)},
      {"reused shallow copy, pivot", copied(kRebaseReuseExt | kRebaseShallow, "over", kAbortPivot)},
      {"full copy, abort", copied(0, "copy", 0)},
      {"reused shallow copy, abort", copied(kRebaseReuseExt | kRebaseShallow, "over", 0)},
      {"a copy, then a commit",
       [](Domain& domain, const std::string& directory) {
         return domain.block_rebase("vda", directory + "/copy", 0, kRebaseCopy | kRebaseShallow) &&
                wait_for(domain, "READY") && domain.block_job_abort("vda", kAbortPivot) &&
                domain.block_commit("vda", std::nullopt, std::nullopt, 0, kCommitActive) &&
                wait_for(domain, "READY") && domain.block_job_abort("vda", kAbortPivot);
       }},
  };
}

std::vector<Flow> merge_flows() {
  return {
      {"active commit, pivot", active_commit(0, kAbortPivot)},
      {"active commit, delete, pivot", active_commit(kCommitDelete, kAbortPivot)},
      {"active commit, shallow, abort", active_commit(kCommitShallow, 0)},
      {"commit", committed(0)},
      {"commit, delete", committed(kCommitDelete)},
      {"pull",
       [](Domain& domain, const std::string&) {
         return domain.block_pull("vda", 0, 0) && wait_for(domain, "COMPLETED");
       }},
      {"increments of a pull",
       [](Domain& domain, const std::string&) {
         return domain.pull("vda", 128U << 10, 0) && domain.pull("vda", std::nullopt, 0) &&
                wait_for(domain, "COMPLETED");
       },
       Dialect::as_proposed},
      {"pull to the base",
       [](Domain& domain, const std::string& directory) {
         return domain.block_rebase("vda", directory + "/base", 0, 0) &&
                wait_for(domain, "COMPLETED");
       }},
      // Held by its speed until it is aborted.
      {"pull, abort",
       [](Domain& domain, const std::string&) {
         return domain.block_pull("vda", 1, kPullBandwidthBytes) &&
                domain.block_job_abort("vda", 0);
       }},
      {"commit, delete, abort",
       [](Domain& domain, const std::string& directory) {
         return domain.block_commit("vda", std::nullopt, directory + "/snap1", 1,
                                    kCommitDelete | kCommitBandwidthBytes) &&
                domain.block_job_abort("vda", 0);
       }},
  };
}

std::vector<Flow> flows() {
  std::vector<Flow> all;
  for (auto* some : {snapshot_flows, drive_flows, copy_flows, merge_flows})
    for (Flow& flow : some()) all.push_back(std::move(flow));
  return all;
}

const Scenario& images() {
  static const Scenario scenario = testing::parse(R"({
    "title": "Images of a domain that is cut off", "because": "the test says why",
    "images": {
      "base": {"format": "qcow2", "size": "256k", "writes": [{"write": 1, "at": 0, "length": "192k"}]},
      "snap1": {"format": "qcow2", "size": "256k", "backing": "base",
                "writes": [{"write": 2, "at": "64k", "length": "64k"}]},
      "snap2": {"format": "qcow2", "size": "256k", "backing": "snap1",
                "writes": [{"write": 3, "at": "100k", "length": "8k"}]},
      "bare": {"format": "qcow2", "size": "256k"},
      "over": {"format": "qcow2", "size": "256k", "backing": "snap1"},
      "fits": {"format": "qcow2", "size": "256k", "backing": "snap2"}
    },
    "disks": [{"target": "vda", "source": "snap2"}],
    "steps": [{"check": "vda"}]
  })")
                                       .front();
  return scenario;
}

class Restart : public ::testing::TestWithParam<std::size_t> {
 protected:
  void SetUp() override {
    session_ = *target_.open({});
    ASSERT_TRUE(make_images(images(), *session_));
    watch_ = std::make_unique<testing::Watch>(session_->hypervisor(), session_->files());
  }
  std::string path(const std::string& file) { return session_->files().directory() + "/" + file; }

  // The flow with a client that dies; true if it came to its end before.
  bool run(const Flow& flow, unsigned commands, bool is_executed) {
    Mortal mortal(watch_->order, commands, is_executed);
    DomainDefinition definition = watch_->over({.disks = {{"vda", path("snap2"), "qcow2"}},
                                                .dialect = flow.dialect,
                                                .recipe = flow.recipe});
    definition.keep_status = [this](const std::string& status) { status_ = status; };
    auto started = Domain::start(mortal, session_->files(), definition);
    if (!started) return false;
    const bool done = flow.run(**started, session_->files().directory());
    EXPECT_TRUE(done || mortal.is_dead());
    return done;
  }

  // Everything comes to its end: a job that is or becomes ready is pivoted, and one that its speed
  // holds is let go.
  void finish(Domain& domain) {
    for (int turns = 0; turns < 10; ++turns) {
      while (true) {
        const auto event = domain.next_event(milliseconds(1000));
        ASSERT_TRUE(event);
        if (!*event) break;
      }
      const auto info = domain.block_job_info("vda", 0);
      ASSERT_TRUE(info);
      if (!*info) return;
      if ((*info)->type == "PULL" || (*info)->type == "COMMIT") {
        ASSERT_TRUE(domain.block_job_set_speed("vda", 0, 0));
        continue;
      }
      const auto pivoted = domain.block_job_abort("vda", kAbortPivot);
      ASSERT_TRUE(pivoted) << (*info)->type << ": " << text_of(pivoted.error());
    }
    ADD_FAILURE() << "the job does not end";
  }

  std::multiset<std::string> nodes() {
    std::multiset<std::string> names;
    const auto reply = session_->hypervisor().execute("query-named-block-nodes", {{"flat", true}});
    for (const Json& node : (*reply)["return"]) names.insert(node["file"].get<std::string>());
    return names;
  }

  void check_guest(Domain& domain) {
    model::DomainModel model(session_->files().directory());
    describe(images(), [](const std::string&) { return std::nullopt; }, model);
    Guest guest(session_->hypervisor(), *domain.qdev("vda"));
    ASSERT_TRUE(guest.flush());
    for (const model::ViewRun& run : model.guest_view("vda")) {
      const auto equal = guest.reads_as(run.offset, run.length, *run.pattern());
      ASSERT_TRUE(equal);
      EXPECT_TRUE(*equal) << "from byte " << run.offset;
    }
    // Opened by its header alone, the active image shows the same.
    const Chain chain = *domain.chain("vda");
    inspect::Inspector inspector(session_->files());
    const auto cold = inspector.view(chain.links.front().path, chain.links.front().format);
    ASSERT_TRUE(cold) << cold.error().desc;
    for (const Divergence& found : check::compare_views(*cold, model.guest_view("vda"), "vda"))
      ADD_FAILURE() << found.expected << " but " << found.actual << " at " << found.place;
  }

  // A deletion that was cut off can be had again.  Then each overlay of the chain is a snapshot's,
  // and each snapshot's overlay is there.
  void check_snapshots(Domain& domain) {
    std::vector<std::string> begun;
    for (const Snapshot* snapshot : domain.snapshot_tree().all())
      for (const SnapshotDiskRecord& disk : snapshot->disks)
        if (disk.merging) begun.push_back(snapshot->name);
    for (const std::string& name : begun) {
      const auto deleted = domain.snapshot_delete(name, 0);
      ASSERT_TRUE(deleted) << text_of(deleted.error());
    }
    std::set<std::string> overlays, of_snapshots, internal, in_image;
    const Chain chain = *domain.chain("vda");
    for (const ChainLink& link : chain.links)
      if (link.path.contains(".s") || link.path.ends_with("/fits")) overlays.insert(link.path);
    for (const Snapshot* snapshot : domain.snapshot_tree().all())
      for (const SnapshotDiskRecord& disk : snapshot->disks)
        (disk.path.empty() ? internal : of_snapshots)
            .insert(disk.path.empty() ? snapshot->name : disk.path);
    if (!of_snapshots.empty() || chain.links.front().path.contains(".s"))
      EXPECT_EQ(of_snapshots, overlays);
    inspect::Inspector inspector(session_->files());
    for (const ChainLink& link : chain.links)
      for (const inspect::InternalSnapshot& kept :
           (*inspector.layer(link.path, link.format))->snapshots)
        in_image.insert(kept.name);
    EXPECT_EQ(internal, in_image);
  }

  // Nothing is left over, and the domain can go on.
  void check_domain(Domain& domain) {
    check_snapshots(domain);
    if (HasFatalFailure()) return;
    check_guest(domain);
    watch_->expect_only_the_chain(domain);
    std::multiset<std::string> expected;
    for (const ChainLink& link : (*domain.chain("vda")).links)
      for (int node = 0; node < 2; ++node) expected.insert(link.path);
    EXPECT_EQ(nodes(), expected);
    const auto jobs = session_->hypervisor().execute("query-jobs", {});
    EXPECT_EQ((*jobs)["return"], Json::array());
    ASSERT_TRUE(domain.block_pull("vda", 0, 0));
    EXPECT_TRUE(wait_for(domain, "COMPLETED"));
    check_guest(domain);
    watch_->expect_only_the_chain(domain);
    watch_->expect_order();
  }

  SimTarget target_ = testing::simulator();
  std::unique_ptr<Session> session_;
  std::unique_ptr<testing::Watch> watch_;
  std::string status_;
};

TEST_P(Restart, GoesOnWhereverTheClientWasCutOff) {
  const Flow flow = flows()[GetParam()];
  unsigned deaths = 0;
  for (unsigned commands = 0;; ++commands) {
    bool done = true;
    for (const bool is_executed : {false, true}) {
      SCOPED_TRACE(flow.name + ", " + std::to_string(commands) + " commands, " +
                   (is_executed ? "the last executed" : "the last not sent"));
      session_.reset();
      SetUp();
      status_.clear();
      done = run(flow, commands, is_executed) && done;
      if (status_.empty()) continue;  // it was never running
      ++deaths;
      auto domain = Domain::reconnect(
          watch_->order, session_->files(), status_,
          [this](const std::string& status) { status_ = status; }, &watch_->locks, &watch_->order);
      ASSERT_TRUE(domain) << text_of(domain.error()) << status_;
      finish(**domain);
      check_domain(**domain);
      if (HasFailure()) FAIL() << status_;
    }
    if (done) break;
  }
  EXPECT_GE(deaths, 8U);
}

INSTANTIATE_TEST_SUITE_P(Flows, Restart, ::testing::Range(std::size_t{0}, flows().size()),
                         [](const auto& row) {
                           std::string name = flows()[row.param].name;
                           for (char& c : name)
                             if (c < 'a' || c > 'z') c = '_';
                           return name;
                         });

TEST(Reconnect, RefusesWhatIsNoStatus) {
  SimTarget target = testing::simulator();
  const auto session = *target.open({});
  for (const char* text :
       {"", "<domstatus/>", "<domain/>", "<domstatus next-index='x'/>",
        "<domstatus next-index='2'><disk target='vda'/></domstatus>",
        "<domstatus next-index='2'><disk target='vda'><image path='/a' format='raw' index='1' "
        "backing='known'/></disk></domstatus>",
        "<domstatus next-index='2'><disk target='vda'><image path='/a' format='raw' index='1' "
        "backing='terminated'/><blockjob id='j' type='copy' state='odd'/></disk></domstatus>",
        "<domstatus next-index='2'><disk target='vda'><image path='/a' format='raw' index='1' "
        "backing='terminated'/><blockjob id='j' type='active-commit' state='ready'/></disk>"
        "</domstatus>",
        "<domstatus next-index='3'><disk target='vda'><image path='/a' format='qcow2' index='1' "
        "backing='known'/><image path='/b' format='raw' index='2' backing='terminated'/><blockjob "
        "id='j' type='commit' state='running' top='2' base='1' "
        "removes='yes'/></disk></domstatus>"}) {
    const auto domain = Domain::reconnect(session->hypervisor(), session->files(), text);
    ASSERT_FALSE(domain) << text;
    EXPECT_TRUE(std::holds_alternative<DomainError>(domain.error())) << text;
  }
}

}  // namespace
}  // namespace conformance
