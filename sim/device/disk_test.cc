#include "sim/device/disk.h"

#include <gtest/gtest.h>

#include <memory>

#include "sim/storage/memory.h"

namespace sim::device {
namespace {

// A disk of 1 MiB that does nothing, in memory of what it was asked.
class Quiet final : public block::Node {
 public:
  explicit Quiet(block::Graph& graph) : Node(graph, "n", "quiet") {}
  std::uint64_t size() const override { return 1_MiB; }
  Task<Result<block::Status>> status(std::uint64_t, std::uint64_t length) override {
    co_return block::Status{length, true, false};
  }
  std::string asked;

 protected:
  Task<Result<>> do_read(std::uint64_t, MutableBytes) override { return note("read "); }
  Task<Result<>> do_write(std::uint64_t, Bytes) override { return note("write "); }
  Task<Result<>> do_write_zeroes(std::uint64_t, std::uint64_t, block::ZeroFlags) override {
    return note("zero ");
  }
  Task<Result<>> do_discard(std::uint64_t, std::uint64_t) override { return note("discard "); }

 private:
  Task<Result<>> note(std::string what) {
    asked += what;
    co_return ok();
  }
};

class DiskTest : public ::testing::Test {
 protected:
  Disk plug(const std::string& id) {
    return {
        Model::virtio_blk, id, 0,
        std::make_unique<block::Backend>(graph_, "", Disk::permission(node_->read_only, false))};
  }
  World world_{1};
  storage::MemoryFiles files_;
  block::Graph graph_{world_, files_, *find_profile("7.2")};
  std::shared_ptr<Quiet> node_ = std::make_shared<Quiet>(graph_);
};

TEST_F(DiskTest, HasItsPlaceInTheObjectTree) {
  const Disk disk = plug("virtio-disk0");
  EXPECT_EQ(disk.device_path(), "/machine/peripheral/virtio-disk0");
  EXPECT_EQ(disk.qom_path(), "/machine/peripheral/virtio-disk0/virtio-backend");
  EXPECT_EQ(Disk::path_of("", 3), "/machine/peripheral-anon/device[3]");
}

// Measured: what goes beyond the end by a byte fails whole, with EIO.
TEST_F(DiskTest, RequestsBeyondTheEndFail) {
  const Disk disk = plug("d");
  block::Backend& backend = disk.backend();
  ASSERT_TRUE(backend.insert(node_));
  std::vector<std::byte> bytes(512);
  EXPECT_TRUE(run(world_, backend.read(1_MiB - 512, bytes)));
  EXPECT_EQ(run(world_, backend.read(1_MiB - 511, bytes)).error().number, EIO);
  EXPECT_EQ(run(world_, backend.write(1_MiB, bytes)).error().number, EIO);
  EXPECT_EQ(run(world_, backend.write_zeroes(1_MiB - 1, 2, {})).error().number, EIO);
  EXPECT_EQ(run(world_, backend.discard(UINT64_MAX, 2)).error().number, EIO);
  EXPECT_EQ(node_->asked, "read ");
}

// In a drained section a guest's requests wait.
TEST_F(DiskTest, RequestsWaitWhileTheNodeIsDrained) {
  const Disk disk = plug("d");
  ASSERT_TRUE(disk.backend().insert(node_));
  world_.scheduler.spawn(graph_.drain_begin(node_));
  while (world_.scheduler.step()) continue;
  const auto flush = [](block::Backend& backend, bool& done) -> Task<void> {
    const Result<> written = co_await backend.write_zeroes(0, 1, {});
    done = bool(written);
  };
  bool done = false;
  world_.scheduler.spawn(flush(disk.backend(), done));
  while (world_.scheduler.step()) continue;
  EXPECT_EQ(node_->asked, "");
  graph_.drain_end(*node_);
  while (world_.scheduler.step()) continue;
  EXPECT_TRUE(done);
}

TEST_F(DiskTest, UsesItsNodeAsAGuestDoes) {
  {
    const Disk disk = plug("d");
    ASSERT_TRUE(disk.backend().insert(node_));
    ASSERT_EQ(node_->parents().size(), 1U);
    EXPECT_EQ(node_->parents()[0]->needed(), block::kConsistentRead | block::kWrite);
    EXPECT_EQ(node_->parents()[0]->describe_owner(),
              "block device '/machine/peripheral/d/virtio-backend'");
  }
  EXPECT_TRUE(node_->parents().empty());
  node_->read_only = true;
  const Disk reader = plug("d");
  ASSERT_TRUE(reader.backend().insert(node_));
  EXPECT_EQ(node_->parents()[0]->needed(), block::kConsistentRead);
}

}  // namespace
}  // namespace sim::device
