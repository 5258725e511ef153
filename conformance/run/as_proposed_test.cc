// The dialect as-proposed on the simulator, where a scenario cannot say it: the other dialect,
// requests that fail, targets that are libvirt itself.

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
              "writes": [{"write": 3, "at": "64k", "length": "64k"}]}
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

  std::size_t nodes() {
    const auto reply = session_->hypervisor().execute("query-named-block-nodes", {{"flat", true}});
    return (*reply)["return"].size();
  }

  SimTarget target_ = testing::simulator();
  std::unique_ptr<Session> session_;
  std::unique_ptr<Domain> domain_;
};

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
