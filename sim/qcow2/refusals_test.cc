// What an image refuses, and that nothing has changed then.

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sim/qcow2/amend.h"
#include "sim/qcow2/create.h"
#include "sim/qcow2/image.h"
#include "sim/storage/memory.h"

namespace sim::qcow2 {
namespace {

constexpr std::uint64_t kDisk = 64 << 10;

class Refusals : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(run(world_, create(*file_, {.size = kDisk, .cluster_bits = 9})).ok());
    open(true);
    ASSERT_TRUE(run(world_, image_->write({0}, some_)).ok());
    ASSERT_TRUE(run(world_, image_->create_snapshot({.name = "s"})).ok());
    ASSERT_TRUE(run(world_, image_->add_bitmap("b", 16, true)).ok());
  }
  void open(bool writable) {
    if (image_) ASSERT_TRUE(run(world_, image_->close()).ok());
    auto opened = run(world_, Image::open(world_, file_, writable));
    ASSERT_TRUE(opened.ok()) << opened.error().desc;
    image_ = *std::move(opened);
  }
  void refuses(const std::string& what, Task<Result<>> task, int number) {
    const auto done = run(world_, std::move(task));
    ASSERT_FALSE(done.ok()) << what;
    EXPECT_EQ(done.error().number, number) << what << ": " << done.error().desc;
  }
  std::vector<std::byte> bytes() const {
    std::vector<std::byte> all(file_->size());
    file_->read_now(0, all);
    return all;
  }

  World world_{1};
  std::shared_ptr<storage::MemoryFile> file_ = std::make_shared<storage::MemoryFile>();
  std::unique_ptr<Image> image_;
  const std::vector<std::byte> some_ = std::vector<std::byte>(512, std::byte{7});
};

TEST_F(Refusals, NothingChangesThroughAReadOnlyHandle) {
  open(false);
  const std::vector<std::byte> before = bytes();
  refuses("write", image_->write({0}, some_), EBADF);
  refuses("write_zeroes", image_->write_zeroes({0}, 512, true), EBADF);
  refuses("discard", image_->discard({0}, 512), EBADF);
  refuses("write_compressed", image_->write_compressed({0}, some_), EBADF);
  refuses("resize", image_->resize(2 * kDisk, Preallocation::off), EBADF);
  refuses("create_snapshot", image_->create_snapshot({.name = "t"}), EBADF);
  refuses("apply_snapshot", image_->apply_snapshot("s"), EBADF);
  refuses("delete_snapshot", image_->delete_snapshot("s"), EBADF);
  refuses("write_vm_state", image_->write_vm_state(0, some_), EBADF);
  refuses("add_bitmap", image_->add_bitmap("c", 16, true), EBADF);
  refuses("remove_bitmap", image_->remove_bitmap("b"), EBADF);
  refuses("clear_bitmap", image_->clear_bitmap("b"), EBADF);
  refuses("enable_bitmap", image_->enable_bitmap("b", false), EBADF);
  refuses("merge_bitmap", image_->merge_bitmap("b", *image_, "b"), EBADF);
  refuses("set_in_bitmap", image_->set_in_bitmap("b", 0, 512), EBADF);
  refuses("change_backing_name", image_->change_backing_name("x", "raw"), EBADF);
  refuses("make_empty", image_->make_empty(), EBADF);
  refuses("amend", amend(*image_, {.lazy_refcounts = true}), EBADF);
  EXPECT_TRUE(run(world_, image_->flush()).ok());
  EXPECT_TRUE(run(world_, image_->close()).ok());
  EXPECT_TRUE(bytes() == before);
}

TEST_F(Refusals, RangesLieWithinTheDisk) {
  std::vector<std::byte> read(512);
  const std::vector<std::byte> before = bytes();
  for (const std::uint64_t at : {kDisk, kDisk - 511, kDisk + 512, UINT64_MAX - 511}) {
    refuses("read", image_->read({at}, read), EIO);
    refuses("write", image_->write({at}, some_), EIO);
    refuses("write_zeroes", image_->write_zeroes({at}, 512, false), EIO);
    refuses("discard", image_->discard({at}, 512), EIO);
    refuses("set_in_bitmap", image_->set_in_bitmap("b", at, 512), EIO);
    EXPECT_FALSE(run(world_, image_->status({at}, 512)).ok());
  }
  refuses("read_vm_state", image_->read_vm_state(UINT64_MAX - 100, read), EIO);
  refuses("write_vm_state", image_->write_vm_state(UINT64_MAX - 100, some_), EFBIG);
  EXPECT_TRUE(bytes() == before);
}

TEST_F(Refusals, SizesNamesAndGranularitiesHaveLimits) {
  refuses("no such snapshot", image_->delete_snapshot("x"), ENOENT);
  refuses("no such bitmap", image_->clear_bitmap("x"), ENOENT);
  refuses("no such bitmap to set", image_->set_in_bitmap("x", 0, 512), ENOENT);
  refuses("negative size", image_->resize(std::uint64_t{1} << 63, Preallocation::off), EINVAL);
  refuses("size of no sectors", image_->resize(kDisk + 1, Preallocation::off), EINVAL);
  refuses("less with preallocation", image_->resize(kDisk / 2, Preallocation::full), EINVAL);
  refuses("long backing name", image_->change_backing_name(std::string(1024, 'n'), "raw"), EINVAL);
  refuses("long backing format", image_->change_backing_name("n", std::string(16, 'f')), EINVAL);
  for (const std::uint8_t bits : {std::uint8_t{8}, std::uint8_t{32}}) {
    EXPECT_FALSE(image_->can_store_bitmap("c", bits).ok()) << int{bits};
    EXPECT_FALSE(run(world_, image_->add_bitmap("c", bits, true)).ok()) << int{bits};
  }
  EXPECT_FALSE(image_->can_store_bitmap(std::string(1024, 'n'), 16).ok());
  EXPECT_TRUE(image_->can_store_bitmap("c", 9).ok());
  refuses("unknown compat", amend(*image_, {.refcount_order = 7}), EINVAL);
}

TEST_F(Refusals, ASnapshotIsShownReadOnly) {
  ASSERT_TRUE(run(world_, image_->close()).ok());
  image_.reset();
  auto opened =
      run(world_, Image::open(world_, file_, OpenOptions{.writable = true, .snapshot = "s"}));
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().number, EINVAL);
  opened = run(world_, Image::open(world_, file_, OpenOptions{.snapshot = "nosuch"}));
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().number, ENOENT);
}

}  // namespace
}  // namespace sim::qcow2
