// Texts and decisions as measured on QEMU 7.2 (also: real-qemu/differential).

#include "sim/block/permissions.h"

#include <gtest/gtest.h>

#include <memory>

#include "sim/block/layer_for_test.h"

namespace sim::block {
namespace {

using testing::Layer;

class PassThrough final : public FilterNode {
 public:
  using FilterNode::FilterNode;
};

class PermissionsTest : public ::testing::Test {
 protected:
  NodePtr node(const std::string& name) { return std::make_shared<Layer>(world_, name, 1_MiB); }
  // A format node over `file`.
  NodePtr format(const std::string& name, const NodePtr& file) {
    auto made = node(name);
    made->attach("file", file);
    return made;
  }
  static std::unique_ptr<Edge> plug(const NodePtr& node, const User& user) {
    auto edge = std::make_unique<Edge>(node, nullptr, user.role);
    edge->user = user.name;
    edge->required = user.required;
    edge->shared = user.shared;
    return edge;
  }
  static std::string refusal(const Node& node, const User& user) {
    const Result<> done = check_new_user(node, user);
    return done ? "" : done.error().desc;
  }
  World world_{1};
};

TEST_F(PermissionsTest, AFileHasOneFormatThatWrites) {
  const auto file = node("s");
  EXPECT_EQ(refusal(*file, format_user("a", true)), "");
  const auto first = format("f", file);
  EXPECT_EQ(refusal(*file, format_user("a", false)),
            "Permission conflict on node 's': permissions 'write, resize' are both required by "
            "node 'f' (uses node 's' as 'file' child) and unshared by node 'a' (uses node 's' as "
            "'file' child).");
  first->read_only = true;
  EXPECT_EQ(refusal(*file, format_user("a", false)), "");
  EXPECT_EQ(refusal(*file, format_user("a", true)),
            "Permission conflict on node 's': permissions 'write, resize' are both required by "
            "node 'a' (uses node 's' as 'file' child) and unshared by node 'f' (uses node 's' as "
            "'file' child).");
}

TEST_F(PermissionsTest, ANodeHasOneDeviceThatWrites) {
  const auto disk = node("n");
  const auto edge = plug(disk, device_user("/d", true));
  EXPECT_EQ(refusal(*disk, device_user("/e", true)),
            "Permission conflict on node 'n': permissions 'write' are both required by block "
            "device '/d' (uses node 'n' as 'root' child) and unshared by block device '/e' (uses "
            "node 'n' as 'root' child).");
  EXPECT_TRUE(is_read_consistently(*disk));
}

TEST_F(PermissionsTest, AMirrorWantsItsTargetForItself) {
  const auto disk = node("n");
  EXPECT_EQ(refusal(*disk, mirror_target_user()), "");
  {
    const auto edge = plug(disk, device_user("/d", true));
    EXPECT_TRUE(refusal(*disk, mirror_target_user())
                    .contains("permissions 'consistent read, write' are both required by block "
                              "device '/d'"));
  }
  const auto file = node("s");
  const auto above = format("f", file);
  EXPECT_TRUE(refusal(*file, mirror_target_user())
                  .contains("permissions 'consistent read, write, resize' are both required by "
                            "node 'f' (uses node 's' as 'file' child)"));
  const auto target = plug(disk, mirror_target_user());
  EXPECT_FALSE(is_read_consistently(*disk)) << "so that an overlay may be slid below";
}

TEST_F(PermissionsTest, NewUsersAreFeltThroughFilters) {
  const auto file = node("s");
  const auto above = format("f", file);
  const auto filter = std::make_shared<PassThrough>(world_, "r", "raw", file);
  EXPECT_EQ(refusal(*filter, device_user("/d", false)),
            "Permission conflict on node 's': permissions 'write' are both required by node 'f' "
            "(uses node 's' as 'file' child) and unshared by node 'r' (uses node 's' as 'backing' "
            "child).");
}

// An overlay without users shares what is below it; a device above it does not.
TEST_F(PermissionsTest, AnOverlaySharesAsItsUsersDo) {
  const auto base = node("base");
  const auto disk = plug(base, device_user("/d", true));
  const auto overlay = node("over");
  overlay->set_backing(base);
  EXPECT_EQ(refusal(*base, User{"node 'x'", "backing"}), "");
  EXPECT_EQ(refusal(*overlay, device_user("/e", true)),
            "Permission conflict on node 'base': permissions 'write' are both required by block "
            "device '/d' (uses node 'base' as 'root' child) and unshared by node 'over' (uses node "
            "'base' as 'backing' child).");
}

}  // namespace
}  // namespace sim::block
