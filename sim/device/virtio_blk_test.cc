#include "sim/device/virtio_blk.h"

#include <gtest/gtest.h>

#include <memory>

namespace sim::device {
namespace {

// A disk of 1 MiB that does nothing, in memory of what it was asked.
class Disk final : public block::Node {
 public:
  explicit Disk(World& world) : Node(world, "n", "disk") {}
  Task<Result<>> flush() override { co_return ok(); }
  std::uint64_t size() const override { return 1_MiB; }
  Task<Result<block::Status>> status(std::uint64_t, std::uint64_t length) override {
    co_return block::Status{length, true, false};
  }
  std::string asked;

 protected:
  Task<Result<>> do_read(std::uint64_t, MutableBytes) override { return note("read "); }
  Task<Result<>> do_write(std::uint64_t, Bytes) override { return note("write "); }
  Task<Result<>> do_write_zeroes(std::uint64_t, std::uint64_t, bool) override {
    return note("zero ");
  }
  Task<Result<>> do_discard(std::uint64_t, std::uint64_t) override { return note("discard "); }

 private:
  Task<Result<>> note(std::string what) {
    asked += what;
    co_return ok();
  }
};

class VirtioBlkTest : public ::testing::Test {
 protected:
  World world_{1};
  std::shared_ptr<Disk> disk_ = std::make_shared<Disk>(world_);
};

TEST_F(VirtioBlkTest, HasItsPlaceInTheObjectTree) {
  const VirtioBlk device("virtio-disk0", disk_);
  EXPECT_EQ(device.qom_path(), "/machine/peripheral/virtio-disk0");
  EXPECT_EQ(device.backend_path(), "/machine/peripheral/virtio-disk0/virtio-backend");
}

// Measured: what goes beyond the end by a byte fails whole, with EIO.
TEST_F(VirtioBlkTest, RequestsBeyondTheEndFail) {
  VirtioBlk device("d", disk_);
  std::vector<std::byte> bytes(512);
  EXPECT_TRUE(run(world_, device.read(1_MiB - 512, bytes)));
  EXPECT_EQ(run(world_, device.read(1_MiB - 511, bytes)).error().number, EIO);
  EXPECT_EQ(run(world_, device.write(1_MiB, bytes)).error().number, EIO);
  EXPECT_EQ(run(world_, device.write_zeroes(1_MiB - 1, 2, false)).error().number, EIO);
  EXPECT_EQ(run(world_, device.discard(UINT64_MAX, 2)).error().number, EIO);
  EXPECT_EQ(disk_->asked, "read ");
}

TEST_F(VirtioBlkTest, UsesItsNodeAsAGuestDoes) {
  {
    const VirtioBlk device("d", disk_);
    ASSERT_EQ(disk_->parents().size(), 1U);
    EXPECT_EQ(disk_->parents()[0]->required, block::kConsistentRead | block::kWrite);
    EXPECT_EQ(disk_->parents()[0]->user, "block device '/machine/peripheral/d/virtio-backend'");
  }
  EXPECT_TRUE(disk_->parents().empty());
  disk_->read_only = true;
  const VirtioBlk reader("d", disk_);
  EXPECT_EQ(disk_->parents()[0]->required, block::kConsistentRead);
}

}  // namespace
}  // namespace sim::device
