#include "real-libvirt/libvirt_target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace real_libvirt {
namespace {

using namespace conformance;
using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr milliseconds kLimit{30'000};
constexpr std::uint64_t kKiB = 1024;

// One target, as its first start takes a second; a session of its own for each test, with
// base <- snap1 of 1 MiB, written by qemu-img and qemu-io.
class LibvirtTargetTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    scratch_ = new real_qemu::PrivateDirectory(
        std::move(*real_qemu::PrivateDirectory::make(real_qemu::scratch_place())));
    LibvirtOptions options;
    options.scratch = scratch_->path();
    auto found = LibvirtTarget::find("libvirt", std::move(options));
    ASSERT_TRUE(found) << found.error().detail;
    target_ = found->release();
  }
  static void TearDownTestSuite() {
    delete target_;
    EXPECT_TRUE(fs::is_empty(scratch_->path())) << "something is left behind";
    delete scratch_;
  }

  void SetUp() override {
    ASSERT_NE(target_, nullptr);
    auto session = target_->open({});
    ASSERT_TRUE(session) << session.error().detail;
    session_ = *std::move(session);
    directory_ = session_->files().directory();
    const std::string make =
        "cd " + directory_ +
        " && qemu-img create -q -f qcow2 base 1M && qemu-io -f qcow2 -c 'write -q -P 1 0 1M' base"
        " && qemu-img create -q -f qcow2 -b " +
        directory_ +
        "/base -F qcow2 snap1"
        " && qemu-io -f qcow2 -c 'write -q -P 2 64k 64k' snap1";
    ASSERT_EQ(std::system(make.c_str()), 0);
    DomainDefinition definition;
    definition.disks.push_back({"vda", path("snap1"), "qcow2"});
    definition.persistent = persistent_;
    auto domain = session_->start_domain(definition, transcript_);
    ASSERT_TRUE(domain);
    ASSERT_TRUE(*domain) << text((*domain).error());
    domain_ = **std::move(domain);
  }

  static std::string text(const DomainFailure& failure) {
    if (const auto* target = std::get_if<TargetFailure>(&failure)) return target->detail;
    const auto& error = std::get<DomainError>(failure);
    return error.domain + "/" + error.code + ": " + error.message;
  }
  template <class T>
  static std::string text(const DomainResult<T>& result) {
    return result ? "success" : text(result.error());
  }
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::string next() {
    const auto event = domain_->next_event(kLimit);
    if (!event) return text(event.error());
    if (!*event) return "nothing";
    return (*event)->disk + " " + (*event)->path + " " + (*event)->type + " " + (*event)->status;
  }
  std::vector<std::string> chain() {
    const auto chain = domain_->chain("vda");
    if (!chain) return {text(chain.error())};
    std::vector<std::string> names;
    for (const ChainLink& link : chain->links) names.push_back(link.path + ":" + link.format);
    if (chain->terminated) names.emplace_back("|");
    return names;
  }
  std::vector<std::string> said(TranscriptEntry::Kind kind) const {
    std::vector<std::string> names;
    for (const TranscriptEntry& entry : transcript_)
      if (entry.kind == kind) names.push_back(entry.name);
    return names;
  }
  Guest guest() { return {session_->hypervisor(), domain_->qdev("vda").value_or("")}; }

  static inline real_qemu::PrivateDirectory* scratch_ = nullptr;
  static inline LibvirtTarget* target_ = nullptr;
  bool persistent_ = false;
  Transcript transcript_;
  std::unique_ptr<Session> session_;
  std::string directory_;
  std::unique_ptr<DomainApi> domain_;
};

TEST_F(LibvirtTargetTest, SaysWhatItIs) {
  EXPECT_EQ(target_->name(), "libvirt");
  EXPECT_THAT(target_->version(), AllOf(HasSubstr("libvirt "), HasSubstr(", QEMU ")));
  EXPECT_FALSE(target_->release().empty());
  EXPECT_FALSE(target_->needs_a_domain().empty());
  EXPECT_FALSE(target_->has_no_lock_manager().empty());
  EXPECT_FALSE(target_->knows_one_recipe().empty());
}

TEST_F(LibvirtTargetTest, CopiesAndPivots) {
  EXPECT_EQ(text(domain_->block_rebase("vda", path("copy"), 0, kRebaseCopy)), "success");
  EXPECT_EQ(next(), "vda " + path("snap1") + " COPY READY");
  const auto mirror = domain_->mirror("vda");
  ASSERT_TRUE(mirror && *mirror);
  EXPECT_EQ((*mirror)->path, path("copy"));
  EXPECT_EQ((*mirror)->format, "qcow2");
  EXPECT_EQ((*mirror)->job, "copy");
  EXPECT_EQ((*mirror)->ready, "yes");
  EXPECT_THAT(chain(), ElementsAre(path("snap1") + ":qcow2", path("base") + ":qcow2", "|"));
  EXPECT_EQ(text(domain_->block_job_abort("vda", kAbortPivot)), "success");
  EXPECT_EQ(next(), "vda " + path("copy") + " COPY COMPLETED");
  EXPECT_THAT(chain(), ElementsAre(path("copy") + ":qcow2", "|"));
  ASSERT_TRUE(domain_->mirror("vda"));
  EXPECT_FALSE(*domain_->mirror("vda"));
}

TEST_F(LibvirtTargetTest, PullsAndCommits) {
  EXPECT_EQ(text(domain_->block_commit("vda", std::nullopt, std::nullopt, 1,
                                       kCommitActive | kCommitBandwidthBytes)),
            "success");
  EXPECT_EQ(text(domain_->block_job_set_speed("vda", 0, 0)), "success");
  EXPECT_EQ(next(), "vda " + path("snap1") + " ACTIVE_COMMIT READY");
  EXPECT_EQ(text(domain_->block_job_abort("vda", 0)), "success");
  EXPECT_EQ(next(), "vda " + path("snap1") + " ACTIVE_COMMIT CANCELED");
  EXPECT_EQ(text(domain_->block_pull("vda", 0, 0)), "success");
  EXPECT_EQ(next(), "vda " + path("snap1") + " PULL COMPLETED");
  EXPECT_THAT(chain(), ElementsAre(path("snap1") + ":qcow2", "|"));
}

TEST_F(LibvirtTargetTest, GivesLibvirtsErrorsWithoutTheTextOfTheirCode) {
  EXPECT_EQ(text(domain_->block_pull("vdz", 0, 0)),
            "QEMU/INVALID_ARG: disk 'vdz' not found in domain");
  EXPECT_EQ(text(domain_->block_rebase("vda", path("no"), 0, kRebaseCopy | kRebaseReuseExt)),
            "QEMU/SYSTEM_ERROR: missing destination file for disk vda: " + path("no") +
                ": No such file or directory");
  EXPECT_EQ(text(domain_->block_rebase("vda", std::nullopt, 0, kRebaseShallow)),
            "DOMAIN/INVALID_ARG: use of flags requires a copy job");
  EXPECT_EQ(text(domain_->block_rebase("vda", path("no"), 0, 0)),
            "STORAGE/INVALID_ARG: could not find image '" + path("no") + "' beneath '" +
                path("snap1") + "' in chain for 'vda'");
}

TEST_F(LibvirtTargetTest, APersistentDomainIsNotCopied) {
  domain_.reset();
  session_.reset();
  persistent_ = true;
  SetUp();
  EXPECT_EQ(text(domain_->block_rebase("vda", path("copy"), 0, kRebaseCopy)),
            "QEMU/OPERATION_INVALID: domain is not transient");
  EXPECT_EQ(text(domain_->block_pull("vda", 0, 0)), "success");
  EXPECT_EQ(next(), "vda " + path("snap1") + " PULL COMPLETED");
}

TEST_F(LibvirtTargetTest, TheGuestReadsAndWrites) {
  Guest it = guest();
  EXPECT_TRUE(it.reads_as(64 * kKiB, 64 * kKiB, 2).value_or(false));
  EXPECT_FALSE(it.reads_as(0, 128 * kKiB, 2).value_or(true));
  EXPECT_TRUE(it.write(0, 4 * kKiB, 9));
  EXPECT_TRUE(it.flush());
  EXPECT_TRUE(it.reads_as(0, 4 * kKiB, 9).value_or(false));
  const auto beyond = it.write(1024 * kKiB, 512, 9);
  ASSERT_FALSE(beyond);
  EXPECT_FALSE(std::get<GuestFailure>(beyond.error()).text.empty());
}

TEST_F(LibvirtTargetTest, WritesDownWhatLibvirtSaysToQemu) {
  ASSERT_TRUE(domain_->block_pull("vda", 0, 0));
  EXPECT_EQ(next(), "vda " + path("snap1") + " PULL COMPLETED");
  ASSERT_TRUE(guest().flush());  // the harness' own command is not libvirt's
  ASSERT_TRUE(domain_->chain("vda"));
  EXPECT_THAT(said(TranscriptEntry::Kind::command),
              ElementsAre("block-stream", "query-jobs", "job-dismiss", "query-named-block-nodes",
                          "blockdev-del", "blockdev-del"));
  EXPECT_EQ(said(TranscriptEntry::Kind::reply).size(), 6U);
  std::vector<std::string> statuses;
  for (const TranscriptEntry& entry : transcript_)
    if (entry.kind == TranscriptEntry::Kind::event && entry.name == "JOB_STATUS_CHANGE")
      statuses.push_back(entry.content.value("status", ""));
  EXPECT_THAT(statuses,
              ElementsAre("created", "running", "waiting", "pending", "concluded", "null"));
}

TEST_F(LibvirtTargetTest, AQemuThatEndsIsACrash) {
  pid_t pid = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(directory_).parent_path() / "run/qemu"))
    if (entry.path().filename().string().starts_with("scenario-") &&
        entry.path().extension() == ".pid")
      std::ifstream(entry.path()) >> pid;
  ASSERT_GT(pid, 1);
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  const auto event = domain_->next_event(kLimit);
  ASSERT_FALSE(event);
  const auto* failure = std::get_if<TargetFailure>(&event.error());
  ASSERT_NE(failure, nullptr);
  EXPECT_EQ(failure->kind, TargetFailure::Kind::crash);
  const auto call = domain_->block_pull("vda", 0, 0);
  ASSERT_FALSE(call);
  EXPECT_NE(std::get_if<TargetFailure>(&call.error()), nullptr) << text(call);
}

TEST(LibvirtTarget, SaysWhatIsMissing) {
  LibvirtOptions options;
  // The second ends at once, as one that cannot be loaded does.
  for (const char* client : {"/no/such/program", "/bin/false"}) {
    options.client = client;
    const auto none = LibvirtTarget::find("libvirt", options);
    ASSERT_FALSE(none);
    EXPECT_THAT(none.error().detail,
                AllOf(HasSubstr("no libvirt here"), HasSubstr("apt-get install")));
  }
  const auto no_qemu = LibvirtTarget::find("libvirt:/no/such/qemu");
  ASSERT_FALSE(no_qemu);
  EXPECT_THAT(no_qemu.error().detail, HasSubstr("/no/such/qemu"));
}

}  // namespace
}  // namespace real_libvirt
