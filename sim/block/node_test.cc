#include "sim/block/node.h"

#include <gtest/gtest.h>

#include <memory>

#include "sim/block/chain.h"
#include "sim/block/filter.h"
#include "sim/block/layer_for_test.h"

namespace sim::block {
namespace {

using testing::GraphForTest;
using testing::Layer;
using testing::NamedUser;

class NodeTest : public ::testing::Test {
 protected:
  std::shared_ptr<Layer> layer(std::string name, std::uint64_t size, NodePtr backing = nullptr) {
    auto made = std::make_shared<Layer>(graph_, std::move(name), size);
    if (backing) EXPECT_TRUE(graph_.set_backing(*made, backing));
    return made;
  }
  void write(Node& node, std::uint64_t offset, std::uint64_t length) {
    const std::vector<std::byte> bytes(length);
    ASSERT_TRUE(run(world_, node.write(offset, bytes)));
  }
  Status below(Node& top, std::uint64_t offset, std::uint64_t length) {
    return *run(world_, status_of_chain(top, offset, length));
  }
  Status above(Node& top, const Node* base, std::uint64_t offset, std::uint64_t length) {
    return *run(world_, status_above(top, base, offset, length));
  }
  GraphForTest made_;
  World& world_ = made_.world;
  Graph& graph_ = made_.graph;
};

TEST_F(NodeTest, TheUppermostLayerThatHasAStretchDecides) {
  const auto base = layer("base", 1000), top = layer("top", 1000, base);
  write(*base, 0, 300);
  write(*top, 100, 100);
  Status status = below(*top, 0, 1000);
  EXPECT_TRUE(status.allocated);
  EXPECT_EQ(status.length, 100U) << "as far as one layer decides";
  EXPECT_EQ(above(*top, base.get(), 0, 1000).allocated, false);
  EXPECT_EQ(above(*top, base.get(), 0, 1000).length, 100U);
  EXPECT_TRUE(above(*top, base.get(), 100, 900).allocated);
  EXPECT_EQ(above(*top, base.get(), 100, 900).length, 100U);
  EXPECT_TRUE(above(*top, nullptr, 250, 750).allocated);
  EXPECT_EQ(above(*top, nullptr, 250, 750).length, 50U);
}

TEST_F(NodeTest, WhatNoLayerHasReadsAsZeroes) {
  const auto base = layer("base", 1000), top = layer("top", 1000, base);
  Status status = below(*top, 0, 1000);
  EXPECT_FALSE(status.allocated);
  EXPECT_TRUE(status.zero);
  EXPECT_FALSE(above(*top, nullptr, 0, 1000).zero) << "not asked about what is below";
}

// A backing file may be shorter than its overlay: QEMU reads zeroes behind its end, and for
// sync=top counts the stretch as the short layer's own.
TEST_F(NodeTest, AShortLayerEndsInZeroes) {
  const auto base = layer("base", 1000), middle = layer("middle", 400, base),
             top = layer("top", 1000, middle);
  write(*base, 0, 1000);
  Status status = below(*top, 300, 700);
  EXPECT_EQ(status.length, 100U) << "up to the short layer's end";
  EXPECT_FALSE(status.zero);
  status = below(*top, 400, 600);
  EXPECT_EQ(status.length, 600U);
  EXPECT_TRUE(status.zero);
  EXPECT_TRUE(status.allocated) << "the base must not be asked";
}

TEST_F(NodeTest, ReadsBehindTheEndArePadded) {
  const auto base = layer("base", 10);
  std::vector<std::byte> bytes(20, std::byte{1});
  ASSERT_TRUE(run(world_, read_padded(*base, 5, bytes)));
  EXPECT_EQ(bytes[4], std::byte{7});
  EXPECT_EQ(bytes[5], std::byte{0});
  EXPECT_EQ(bytes[19], std::byte{0});
}

TEST_F(NodeTest, WritesMarkBitmapsThatRecord) {
  const auto node = layer("n", 1_KiB);
  const auto on = std::make_shared<DirtyBitmap>("on", 1_KiB, 512);
  const auto off = std::make_shared<DirtyBitmap>("off", 1_KiB, 512);
  off->enabled = false;
  node->bitmaps = {on, off};
  write(*node, 600, 1);
  EXPECT_EQ(on->count(), 512U);
  EXPECT_EQ(off->count(), 0U);
  ASSERT_TRUE(run(world_, node->write_zeroes(0, 1, {})));
  EXPECT_EQ(on->count(), 1_KiB);
}

// discard=ignore: nothing happens at all; discard=unmap: the driver is asked, bitmaps are marked.
TEST_F(NodeTest, DiscardsNeedTheOption) {
  const auto node = layer("n", 1_KiB);
  const auto bitmap = std::make_shared<DirtyBitmap>("b", 1_KiB, 512);
  node->bitmaps = {bitmap};
  ASSERT_TRUE(run(world_, node->discard(0, 512)));
  EXPECT_TRUE(node->discards.empty());
  EXPECT_EQ(bitmap->count(), 0U);
  node->discard_unmap = true;
  ASSERT_TRUE(run(world_, node->discard(0, 512)));
  EXPECT_EQ(node->discards.size(), 1U);
  EXPECT_EQ(bitmap->count(), 512U);
}

TEST_F(NodeTest, AReadOnlyNodeRefuses) {
  const auto node = layer("n", 1_KiB);
  node->read_only = true;
  const std::vector<std::byte> bytes(1);
  EXPECT_EQ(run(world_, node->write(0, bytes)).error().number, EPERM);
  EXPECT_EQ(run(world_, node->write_zeroes(0, 1, {})).error().number, EPERM);
  EXPECT_EQ(run(world_, node->discard(0, 1)).error().number, EPERM);
}

TEST_F(NodeTest, AFilterGoesBetweenANodeAndItsUsers) {
  const auto old = layer("old", 10), overlay = layer("overlay", 10, old);
  NamedUser user("u");
  const auto root = graph_.attach_user(user, old, "root", {kConsistentRead});
  ASSERT_TRUE(root);
  const auto filter = std::make_shared<FilterNode>(graph_, "f", "mirror_top");
  ASSERT_TRUE(graph_.insert_above(filter, old, "backing", kFiltered | kPrimary));
  EXPECT_EQ((*root)->node(), filter);
  EXPECT_EQ(overlay->backing(), filter.get());
  EXPECT_EQ(old->parents().size(), 1U);
  EXPECT_EQ(old->parents()[0]->needed(), kConsistentRead) << "as the filter's users";
  ASSERT_TRUE(graph_.drop_filter(filter));
  EXPECT_EQ((*root)->node(), old);
  EXPECT_EQ(overlay->backing(), old.get());
  EXPECT_TRUE(filter->children().empty());
}

TEST_F(NodeTest, ReplacingMovesAllButWhatIsBelowTheNewNode) {
  const auto old = layer("old", 10), fresh = layer("new", 10, old);
  const auto overlay = layer("overlay", 10, old);
  ASSERT_TRUE(graph_.replace(old, fresh));
  EXPECT_EQ(overlay->backing(), fresh.get());
  EXPECT_EQ(fresh->backing(), old.get());
}

TEST_F(NodeTest, CirclesAndFrozenLinksAreRefused) {
  const auto base = layer("base", 10), top = layer("top", 10, base);
  EXPECT_EQ(graph_.set_backing(*base, top).error().desc,
            "Making 'top' a backing child of 'base' would create a cycle");
  ASSERT_TRUE(graph_.freeze_chain(*top, base.get()));
  EXPECT_EQ(graph_.set_backing(*top, nullptr).error().desc,
            "Cannot change 'backing' link from 'top' to 'base'");
  EXPECT_FALSE(graph_.freeze_chain(*top, base.get()));
  graph_.thaw_chain(*top, base.get());
  EXPECT_TRUE(graph_.set_backing(*top, nullptr));
  EXPECT_TRUE(base->parents().empty());
}

TEST_F(NodeTest, ADrainedNodeKeepsItsUsersQuiet) {
  const auto base = layer("base", 10), top = layer("top", 10, base);
  NamedUser user("u"), late("l");
  const auto root = graph_.attach_user(user, top, "root", {});
  user.busy = true;
  world_.scheduler.spawn(graph_.drain_begin(base));
  ASSERT_TRUE(world_.scheduler.step());
  EXPECT_EQ(user.quiet, 1);
  user.busy = false;
  while (world_.scheduler.step()) continue;
  auto other = graph_.attach_user(late, top, "root", {});
  EXPECT_EQ(late.quiet, 1) << "who comes to a drained node is quiet as well";
  graph_.detach_user(*std::move(other));
  EXPECT_EQ(late.quiet, 0);
  graph_.drain_end(*base);
  EXPECT_EQ(user.quiet, 0);
}

TEST_F(NodeTest, WhatNobodyNeedsIsClosed) {
  auto base = layer("base", 10), top = layer("top", 10, base);
  for (const auto& node : {base, top}) graph_.add(node);
  top->monitor_owned = true;
  base.reset();
  world_.scheduler.spawn(graph_.collect());
  EXPECT_EQ(graph_.all().size(), 2U);
  top->monitor_owned = false;
  top.reset();
  world_.scheduler.spawn(graph_.collect());
  EXPECT_TRUE(graph_.all().empty());
  EXPECT_EQ(graph_.find("base"), nullptr);
}

TEST_F(NodeTest, FiltersAreNoLayers) {
  const auto base = layer("base", 10), top = layer("top", 10, base);
  const auto overlay = layer("overlay", 10, top);
  const auto filter = std::make_shared<FilterNode>(graph_, "f", "mirror_top");
  ASSERT_TRUE(graph_.insert_above(filter, top, "backing", kFiltered | kPrimary));
  EXPECT_EQ(next_layer(*overlay), top.get());
  EXPECT_EQ(next_layer(*filter), top.get());
  EXPECT_EQ(next_layer(*base), nullptr);
  EXPECT_EQ(overlay_of(*overlay, *top), filter.get());
}

// A bitmap's write threshold speaks once.
TEST_F(NodeTest, AWriteBeyondTheThresholdIsTold) {
  struct Told final : GraphObserver {
    void printed(std::string_view) override {}
    void threshold_exceeded(const Node&, std::uint64_t limit, std::uint64_t by) override {
      threshold = limit;
      exceeded_by += by;
    }
    std::uint64_t threshold = 0, exceeded_by = 0;
  } told;
  graph_.observer = &told;
  const auto node = layer("n", 1_KiB);
  node->write_threshold = 600;
  write(*node, 0, 600);
  EXPECT_EQ(told.threshold, 0U);
  write(*node, 600, 24);
  write(*node, 600, 24);
  EXPECT_EQ(told.threshold, 600U);
  EXPECT_EQ(told.exceeded_by, 24U);
}

}  // namespace
}  // namespace sim::block
