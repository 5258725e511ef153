// Texts and decisions as measured on QEMU 7.2 (also: real-qemu/differential).

#include "sim/block/permissions.h"

#include <gtest/gtest.h>

#include <memory>

#include "sim/block/filter.h"
#include "sim/block/layer_for_test.h"

namespace sim::block {
namespace {

using testing::GraphForTest;
using testing::Layer;
using testing::NamedUser;

constexpr Permission kReader{kConsistentRead, kConsistentRead | kWriteUnchanged | kResize};
constexpr Permission kWriter{kConsistentRead | kWrite, kConsistentRead | kWriteUnchanged | kResize};
constexpr Permission kMirrorTarget{kWrite, kWriteUnchanged};

class PermissionsTest : public ::testing::Test {
 protected:
  NodePtr node(const std::string& name) { return std::make_shared<Layer>(graph_, name, 1_KiB); }
  // Why `parent`, writable or not, cannot have `file`; empty: it has it.
  std::string give_file(Node& parent, const NodePtr& file) {
    const Result<> done = graph_.attach(parent, file, "file", kImage);
    return done ? "" : done.error().desc;
  }
  std::string use(NamedUser& user, const NodePtr& node, Permission permission) {
    auto edge = graph_.attach_user(user, node, "root", permission);
    if (!edge) return edge.error().desc;
    edges_.push_back(*std::move(edge));
    return "";
  }
  GraphForTest made_;
  Graph& graph_ = made_.graph;
  NamedUser d_{"block device '/d'"}, e_{"block device '/e'"}, job_{"an unnamed block device"};
  std::vector<EdgePtr> edges_;
};

TEST_F(PermissionsTest, AFileHasOneFormatThatWrites) {
  const auto file = node("s"), first = node("f"), second = node("a");
  EXPECT_EQ(give_file(*first, file), "");
  second->read_only = true;
  EXPECT_EQ(give_file(*second, file),
            "Permission conflict on node 's': permissions 'write, resize' are both required by "
            "node 'f' (uses node 's' as 'file' child) and unshared by node 'a' (uses node 's' as "
            "'file' child).");
  EXPECT_TRUE(second->children().empty());
  first->read_only = true;
  ASSERT_TRUE(graph_.refresh({first.get()}));
  EXPECT_EQ(give_file(*second, file), "");
  const auto third = node("b");
  EXPECT_EQ(give_file(*third, file),
            "Permission conflict on node 's': permissions 'write, resize' are both required by "
            "node 'b' (uses node 's' as 'file' child) and unshared by node 'a' (uses node 's' as "
            "'file' child).");
}

TEST_F(PermissionsTest, ANodeHasOneDeviceThatWrites) {
  const auto disk = node("n");
  EXPECT_EQ(use(d_, disk, kWriter), "");
  EXPECT_EQ(use(e_, disk, kWriter),
            "Permission conflict on node 'n': permissions 'write' are both required by block "
            "device '/d' (uses node 'n' as 'root' child) and unshared by block device '/e' (uses "
            "node 'n' as 'root' child).");
  EXPECT_EQ(disk->parents().size(), 1U);
}

TEST_F(PermissionsTest, ANodeThatIsReadOnlyHasNoWriter) {
  const auto disk = node("n");
  disk->read_only = true;
  EXPECT_EQ(use(d_, disk, kWriter), "Block node is read-only");
  EXPECT_EQ(use(d_, disk, kReader), "");
}

TEST_F(PermissionsTest, AMirrorWantsItsTargetForItself) {
  const auto disk = node("n");
  EXPECT_EQ(use(d_, disk, kWriter), "");
  EXPECT_TRUE(use(job_, disk, kMirrorTarget)
                  .contains("permissions 'consistent read, write' are both required by block "
                            "device '/d'"));
  const auto file = node("s"), above = node("f");
  EXPECT_EQ(give_file(*above, file), "");
  EXPECT_TRUE(use(job_, file, kMirrorTarget)
                  .contains("permissions 'consistent read, write, resize' are both required by "
                            "node 'f' (uses node 's' as 'file' child)"));
}

TEST_F(PermissionsTest, NewUsersAreFeltThroughFilters) {
  const auto file = node("s"), above = node("f");
  EXPECT_EQ(give_file(*above, file), "");
  const auto filter = std::make_shared<FilterNode>(graph_, "r", "raw");
  ASSERT_TRUE(graph_.attach(*filter, file, "backing", kFiltered | kPrimary));
  EXPECT_EQ(use(d_, filter, kReader),
            "Permission conflict on node 's': permissions 'write' are both required by node 'f' "
            "(uses node 's' as 'file' child) and unshared by node 'r' (uses node 's' as 'backing' "
            "child).");
}

// An overlay without users shares what is below it; a device above it does not.
TEST_F(PermissionsTest, AnOverlaySharesAsItsUsersDo) {
  const auto base = node("base"), overlay = node("over");
  EXPECT_EQ(use(d_, base, kWriter), "");
  EXPECT_TRUE(graph_.set_backing(*overlay, base));
  EXPECT_EQ(use(e_, overlay, kWriter),
            "Permission conflict on node 'base': permissions 'write' are both required by block "
            "device '/d' (uses node 'base' as 'root' child) and unshared by node 'over' (uses node "
            "'base' as 'backing' child).");
}

// Measured on 5.2: the other side alone is named.
TEST(PermissionTexts, ListWhatIsMissing) {
  EXPECT_EQ(words(kConsistentRead | kWrite | kWriteUnchanged | kResize),
            "consistent read, write, write unchanged, resize");
  EXPECT_EQ(words(0), "");
}

}  // namespace
}  // namespace sim::block
