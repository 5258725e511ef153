// The dialect as-proposed on the simulator, where a scenario cannot say it: copies whose
// destination is a document, requests that fail, targets that are libvirt itself.

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "conformance/domain/domain.h"
#include "conformance/run/execution.h"
#include "conformance/run/images.h"
#include "conformance/run/scenarios_for_test.h"

namespace conformance {
namespace {

using std::chrono::milliseconds;

const Scenario& images() {
  static const Scenario scenario = testing::parse(R"({
    "title": "Images", "because": "the test says why", "dialect": "as-proposed",
    "images": {
      "base": {"format": "qcow2", "size": "1M", "writes": [{"write": 1, "at": 0, "length": "640k"}]},
      "top": {"format": "qcow2", "size": "1M", "backing": "base",
              "writes": [{"write": 3, "at": "64k", "length": "64k"}]},
      "empty": {"format": "qcow2", "size": "1M"},
      "data": {"format": "qcow2", "size": "1M", "writes": [{"write": 7, "at": "960k", "length": "64k"}]},
      "small": {"format": "qcow2", "size": "1M", "cluster_size": 512,
                "writes": [{"zero": true, "at": "960k", "length": "1k"}]},
      "over": {"format": "qcow2", "size": "1M", "backing": "base"},
      "over-data": {"format": "qcow2", "size": "1M", "backing": "base",
                    "writes": [{"write": 7, "at": 0, "length": "64k"}]},
      "raw": {"format": "raw", "size": "1M"},
      "raw-data": {"format": "raw", "size": "1M", "writes": [{"write": 7, "at": 1048575, "length": 1}]}
    },
    "disks": [{"target": "vda", "source": "top"}],
    "steps": [{"check": "vda"}]
  })")
                                       .front();
  return scenario;
}

std::string text_of(const DomainFailure& failure) {
  if (const auto* error = std::get_if<DomainError>(&failure)) return error->message;
  return "the target failed: " + std::get<TargetFailure>(failure).detail;
}
template <class T>
std::string answer(const DomainResult<T>& result) {
  return result ? "ok" : text_of(result.error());
}

class AsProposed : public ::testing::Test {
 protected:
  void SetUp() override { start(Dialect::as_proposed); }
  void start(Dialect dialect) {
    domain_.reset();
    session_ = *target_.open({.hazards = true});
    ASSERT_TRUE(make_images(images(), *session_));
    auto domain = Domain::start(session_->hypervisor(), session_->files(),
                                {.disks = {{"vda", path("top"), "qcow2"}}, .dialect = dialect});
    ASSERT_TRUE(domain) << text_of(domain.error());
    domain_ = *std::move(domain);
  }
  std::string path(const std::string& file) { return session_->files().directory() + "/" + file; }

  // Of a copy into this file; one that is accepted is ended.
  std::string copy(const std::string& file, const std::string& driver, std::uint32_t flags) {
    const auto started = domain_->block_copy(
        "vda", "<disk type='file'>" + driver + "<source file='" + path(file) + "'/></disk>", {},
        flags | kCopyReuseExt);
    if (started) EXPECT_EQ(answer(domain_->block_job_abort("vda", 0)), "ok");
    return answer(started);
  }
  std::string not_empty(const std::string& file) {
    return "reused destination of disk 'vda' is not empty: " + path(file);
  }
  std::size_t nodes() {
    const auto reply = session_->hypervisor().execute("query-named-block-nodes", {{"flat", true}});
    return (*reply)["return"].size();
  }

  SimTarget target_ = testing::simulator();
  std::unique_ptr<Session> session_;
  std::unique_ptr<Domain> domain_;
};

const std::string kQcow2 = "<driver name='qemu' type='qcow2'/>";
const std::string kRaw = "<driver name='qemu' type='raw'/>";

TEST_F(AsProposed, AReusedDestinationsFormatIsNamed) {
  for (const std::uint32_t flags : {0U, std::uint32_t{kCopyShallow}})
    for (const char* file : {"empty", "data", "over", "raw"})
      EXPECT_EQ(copy(file, "", flags),
                "format of the reused destination of disk 'vda' must be named, it is not probed: " +
                    path(file));
}

TEST_F(AsProposed, AReusedDestinationIsEmpty) {
  EXPECT_EQ(copy("empty", kQcow2, 0), "ok");
  EXPECT_EQ(copy("raw", kRaw, 0), "ok");
  for (const char* file : {"data", "small", "over", "over-data"})
    EXPECT_EQ(copy(file, kQcow2, 0), not_empty(file));
  for (const char* file : {"raw-data", "empty"}) EXPECT_EQ(copy(file, kRaw, 0), not_empty(file));
}

// What a shallow copy lies on may show through; what it has itself may not.
TEST_F(AsProposed, AShallowDestinationHasNothingOfItsOwn) {
  EXPECT_EQ(copy("over", kQcow2, kCopyShallow), "ok");
  EXPECT_EQ(copy("raw-data", kRaw, kCopyShallow), "ok") << "the caller says it is the backing's";
  for (const char* file : {"over-data", "data", "small"})
    EXPECT_EQ(copy(file, kQcow2, kCopyShallow), not_empty(file));
}

TEST_F(AsProposed, LibvirtItselfAsksNeither) {
  start(Dialect::as_libvirt);
  EXPECT_EQ(copy("data", "", 0), "ok");
  EXPECT_EQ(copy("over-data", kQcow2, kCopyShallow), "ok");
}

TEST_F(AsProposed, LibvirtItselfHasNoPullByIncrements) {
  start(Dialect::as_libvirt);
  const std::string none = "this function is not supported by the connection driver: ";
  EXPECT_EQ(answer(domain_->pull("vda", std::nullopt, 0)),
            none + "virDomainBlockPull with a cursor");
  EXPECT_EQ(answer(domain_->pull_all("vda")), none + "virDomainBlockPull with a cursor");
  EXPECT_EQ(answer(domain_->pull_info("vda")), none + "virDomainGetBlockPullInfo");
  EXPECT_EQ(answer(domain_->pull_abort("vda")), none + "virDomainBlockPullAbort");
  EXPECT_EQ(answer(domain_->block_rebase("vda", "<source file='/base'/>", 0, kRebaseBaseXml)),
            "unsupported flags (0x10000) in function qemuDomainBlockRebase");
}

// The link stays, the filter goes, and the increment can be tried again.
TEST_F(AsProposed, AnIncrementThatCannotReadKeepsTheLink) {
  const std::size_t before = nodes();
  ASSERT_FALSE(session_->inject(
      {.path = path("base"), .operation = FileFault::Operation::read, .lasting = false}));
  EXPECT_EQ(answer(domain_->pull("vda", std::nullopt, 0)),
            "cannot pull into disk 'vda': read failed: Input/output error");
  EXPECT_EQ(nodes(), before);
  EXPECT_EQ(answer(domain_->pull_info("vda")), "disk vda does not have an active block job");
  EXPECT_EQ(domain_->chain("vda")->links.size(), 2U);
  const auto first = domain_->pull("vda", std::nullopt, 0);
  ASSERT_TRUE(first) << text_of(first.error());
  EXPECT_EQ(*first, (PullPosition{.cursor = 512U << 10, .end = 1U << 20}));
  EXPECT_EQ(*domain_->pull_info("vda"), *first);
  const auto second = domain_->pull("vda", first->cursor, 0);
  ASSERT_TRUE(second) << text_of(second.error());
  EXPECT_TRUE(second->drops_backing);
  EXPECT_EQ(second->cursor, second->end);
  const auto event = domain_->next_event(milliseconds(1000));
  ASSERT_TRUE(event && *event);
  EXPECT_EQ((*event)->status, "COMPLETED");
  EXPECT_EQ(domain_->chain("vda")->links.size(), 1U);
  EXPECT_EQ(nodes(), before - 2) << "the base's";
}

class LibvirtItself final : public Target {
 public:
  std::string name() const override { return "libvirt"; }
  std::string version() const override { return "9.0"; }
  std::string release() const override { return "7.2"; }
  std::string lacks_what_is_proposed() const override { return "it never had that"; }
  Outcome<std::unique_ptr<Session>> open(const SessionOptions&) override {
    return std::unexpected(TargetFailure{TargetFailure::Kind::harness, "opened"});
  }
};

TEST(AsProposedTargets, LibvirtItselfIsNotAsked) {
  LibvirtItself target;
  EXPECT_EQ(execute(images(), target, {}).skipped, "it never had that");
  Scenario plain = images();
  plain.dialect = Dialect::as_libvirt;
  EXPECT_EQ(execute(plain, target, {}).broken, "opened");
}

}  // namespace
}  // namespace conformance
