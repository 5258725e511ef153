// What the watcher catches: orders that are wrong on purpose.

#include "conformance/domain/access_order.h"

#include "conformance/domain/fake_target.h"

namespace conformance {
namespace {

using testing::kDirectory;
using Complaints = std::vector<std::string>;

const std::string kTop = kDirectory + "/top";
const std::string kMid = kDirectory + "/mid";
const std::string kBase = kDirectory + "/base";

class Forged : public ::testing::Test {
 protected:
  Forged() {
    files_.qcow2("top", kMid);
    files_.qcow2("mid", kBase);
    files_.qcow2("base");
    hypervisor_.held = true;
  }
  void send(const char* command, const Json& arguments) {
    ASSERT_TRUE(order_.execute(command, arguments));
  }
  void label(const std::string& file, Label label) {
    ASSERT_TRUE(order_.set("domain/vda", file, label).ok());
  }
  void add(const std::string& name, const std::string& file, bool reads, Json backing = nullptr) {
    send("blockdev-add", {{"driver", "file"}, {"filename", file}, {"node-name", name + "-file"}});
    send("blockdev-add", {{"driver", "qcow2"},
                          {"file", name + "-file"},
                          {"node-name", name},
                          {"read-only", reads},
                          {"backing", std::move(backing)}});
  }
  // base <- mid <- top, everything as it must be.
  void open_chain() {
    label(kBase, Label::read_only);
    label(kMid, Label::read_only);
    label(kTop, Label::read_write);
    add("n3", kBase, true);
    add("n2", kMid, true, "n3");
    add("n1", kTop, false, "n2");
    ASSERT_EQ(order_.complaints(), Complaints());
  }
  // Only those that the test is about.
  void expect(const Complaints& complaints) { EXPECT_EQ(order_.complaints(), complaints); }

  testing::MapFiles files_;
  testing::ObligingHypervisor hypervisor_;
  RememberedLabels labels_;
  LockManager locks_;
  AccessOrder order_{hypervisor_, labels_, files_};
};

TEST_F(Forged, OpenedBeforeItIsLabelled) {
  send("blockdev-add", {{"driver", "file"}, {"filename", kBase}, {"node-name", "f"}});
  label(kBase, Label::read_only);
  expect({"blockdev-add needs a label to read, and " + kBase + " has no label"});
}

TEST_F(Forged, OpenedToWriteWithALabelToRead) {
  label(kBase, Label::read_only);
  add("n1", kBase, false);
  expect({"blockdev-add needs a label to write, and " + kBase + " has a label to read"});
}

TEST_F(Forged, CreatedWithoutALabel) {
  files_.raw("new", 0);
  const std::string path = kDirectory + "/new";
  send("blockdev-create",
       {{"job-id", "c"}, {"options", {{"driver", "file"}, {"filename", path}, {"size", 1}}}});
  label(path, Label::read_only);
  send("blockdev-add", {{"driver", "file"}, {"filename", path}, {"node-name", "f"}});
  send("blockdev-create",
       {{"job-id", "c"}, {"options", {{"driver", "qcow2"}, {"file", "f"}, {"size", 1}}}});
  expect({"blockdev-create needs a label to write, and " + path + " has no label",
          "blockdev-create needs a label to write, and " + path + " has a label to read"});
}

TEST_F(Forged, CommittedIntoWhatIsOnlyRead) {
  open_chain();
  send("block-commit",
       {{"job-id", "j"}, {"device", "n1"}, {"top-node", "n2"}, {"base-node", "n3"}});
  expect({"block-commit needs a label to write, and " + kBase + " has a label to read"});
}

TEST_F(Forged, TheOverlaysHeaderCannotBeWritten) {
  label(kDirectory + "/top", Label::read_only);
  label(kBase, Label::read_write);
  label(kMid, Label::read_only);
  add("n3", kBase, true);
  add("n2", kMid, true, "n3");
  add("n1", kTop, true, "n2");
  send("block-commit",
       {{"job-id", "j"}, {"device", "n1"}, {"top-node", "n2"}, {"base-node", "n3"}});
  expect({"block-commit needs a label to write, and " + kTop + " has a label to read"});
}

TEST_F(Forged, LoweredWhileTheCommitRuns) {
  open_chain();
  label(kBase, Label::read_write);
  send("block-commit",
       {{"job-id", "j"}, {"device", "n1"}, {"top-node", "n2"}, {"base-node", "n3"}});
  label(kBase, Label::read_only);
  const Complaints one = {kBase + " has only a label to read while QEMU needs a label to write"};
  expect(one);
  label(kBase, Label::read_write);
  send("job-dismiss", {{"id", "j"}});
  label(kBase, Label::read_only);
  expect(one);
}

TEST_F(Forged, LoweredAfterThePivotOntoIt) {
  open_chain();
  label(kBase, Label::read_write);
  hypervisor_.held = false;
  send("block-commit",
       {{"job-id", "j"}, {"device", "n1"}, {"top-node", "n1"}, {"base-node", "n3"}});
  send("job-complete", {{"id", "j"}});
  send("query-jobs", nullptr);
  send("job-dismiss", {{"id", "j"}});
  label(kBase, Label::read_only);
  expect({kBase + " has only a label to read while QEMU needs a label to write"});
}

TEST_F(Forged, TakenAwayBeforeTheNodeIsGone) {
  open_chain();
  send("blockdev-del", {{"node-name", "n1"}});
  label(kTop, Label::none);
  expect({kTop + " has only no label while QEMU needs a label to read"});
  send("blockdev-del", {{"node-name", "n1-file"}});
  label(kMid, Label::none);
  EXPECT_EQ(order_.complaints().size(), 2U);
}

// What QEMU refuses to remove is still open.
TEST_F(Forged, TakenAwayThoughQemuKeptTheNode) {
  open_chain();
  hypervisor_.refusals[{"blockdev-del", 0}] = "Node n1 is in use";
  send("blockdev-del", {{"node-name", "n1"}});
  send("blockdev-del", {{"node-name", "n1-file"}});
  label(kTop, Label::read_only);
  expect({kTop + " has only a label to read while QEMU needs a label to write"});
}

TEST_F(Forged, LabelledBeforeItIsThere) {
  label(kDirectory + "/new", Label::read_write);
  expect({"a label for " + kDirectory + "/new, which is not there"});
}

TEST_F(Forged, OpenedWithoutALease) {
  AccessOrder order(hypervisor_, labels_, files_, &locks_);
  ASSERT_TRUE(order.set("domain/vda", kBase, Label::read_write).ok());
  ASSERT_FALSE(locks_.hold("pool", {{kBase, LeaseMode::shared}}));  // not the domain
  const Json add = {{"driver", "file"}, {"filename", kBase}, {"node-name", "f"}};
  ASSERT_TRUE(order.execute("blockdev-add", add));
  EXPECT_EQ(order.complaints(), (Complaints{"blockdev-add without a lease of " + kBase}));
  ASSERT_FALSE(locks_.hold("domain/vda", {{kBase, LeaseMode::shared}}));
  ASSERT_TRUE(order.execute("blockdev-add", add));
  EXPECT_EQ(order.complaints().size(), 1U);
  ASSERT_TRUE(order.execute(
      "blockdev-add",
      {{"driver", "qcow2"}, {"file", "f"}, {"node-name", "n"}, {"read-only", false}}));
  EXPECT_EQ(order.complaints().size(), 2U);
}

}  // namespace
}  // namespace conformance
