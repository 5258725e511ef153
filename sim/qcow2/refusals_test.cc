// What an image refuses, and that nothing has changed then.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sim/qcow2/amend.h"
#include "sim/qcow2/check.h"
#include "sim/qcow2/create.h"
#include "sim/qcow2/encryption.h"
#include "sim/qcow2/format.h"
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

// Where the fields of the file are, for tests that change them.
class BrokenImages : public ::testing::Test {
 protected:
  void make(CreateOptions options) {
    file_ = std::make_shared<storage::MemoryFile>();
    data_ = options.data_file.empty() ? nullptr : std::make_shared<storage::MemoryFile>();
    ASSERT_TRUE(run(world_, create(file_, std::move(options), data_)).ok());
    const auto image = open(true);
    const std::vector<std::byte> bytes(image->cluster_size(), std::byte{7});
    ASSERT_TRUE(run(world_, image->write({0}, bytes)).ok());
    ASSERT_TRUE(run(world_, image->close()).ok());
  }
  std::unique_ptr<Image> open(bool writable) {
    OpenOptions options{.writable = writable};
    options.data_file = data_;
    auto opened = run(world_, Image::open(world_, file_, std::move(options)));
    EXPECT_TRUE(opened.ok()) << opened.error().desc;
    return *std::move(opened);
  }
  std::uint64_t field(std::uint64_t at) const {
    std::array<std::byte, 8> bytes{};
    file_->read_now(at, bytes);
    return load_be<std::uint64_t>(bytes, 0);
  }
  void set_field(std::uint64_t at, std::uint64_t value) {
    std::array<std::byte, 8> bytes{};
    store_be(MutableBytes(bytes), 0, value);
    file_->write_now(at, bytes);
  }
  std::uint64_t l2() const {
    return field(field(format::at::l1_table_offset)) & format::kOffsetMask;
  }
  // The first cluster can be neither read nor written, and the image says so.
  void expect_refused(const std::string& words) {
    for (const bool writable : {false, true}) {
      const auto image = open(writable);
      std::vector<std::byte> bytes(512);
      const auto read = run(world_, image->read({0}, bytes));
      ASSERT_FALSE(read.ok()) << words;
      EXPECT_NE(read.error().desc.find(words), std::string::npos) << read.error().desc;
      if (writable) EXPECT_FALSE(run(world_, image->write({0}, bytes)).ok());
    }
    if (field(format::at::version - 4) << 32 >> 32 < 3) return;
    EXPECT_NE(field(format::at::incompatible_features) & format::kIncompatibleCorrupt, 0U) << words;
  }

  World world_{1};
  std::shared_ptr<storage::MemoryFile> file_, data_;  // no data file: null
};

TEST_F(BrokenImages, EntriesThatCannotBe) {
  make({.size = kDisk, .cluster_bits = 12});
  set_field(l2(), field(l2()) + 512);
  expect_refused("unaligned (guest offset: 0x0)");
  make({.size = kDisk, .cluster_bits = 12, .version = 2});
  set_field(l2(), field(l2()) | format::kZero);
  expect_refused("Zero cluster entry found in pre-v3 image");
  make({.size = kDisk, .cluster_bits = 14, .extended_l2 = true});
  set_field(l2() + 8, 0x0000'0001'0000'0001);
  expect_refused("Invalid cluster entry found");
  make({.size = kDisk, .cluster_bits = 14, .extended_l2 = true});
  set_field(l2(), 0);
  expect_refused("Invalid cluster entry found");
  make({.size = kDisk, .cluster_bits = 12, .data_file = "d"});
  set_field(l2(), format::kCompressed | 0x5000);
  expect_refused("Compressed cluster entry found in image with external data file");
  make({.size = kDisk, .cluster_bits = 12, .data_file = "d"});
  set_field(l2(), format::kCopied | 0x5000);
  expect_refused("does not match guest");
}

TEST_F(BrokenImages, SnapshotsWithoutATable) {
  make({.size = kDisk, .cluster_bits = 12});
  {
    const auto image = open(true);
    ASSERT_TRUE(run(world_, image->create_snapshot({.name = "s"})).ok());
    ASSERT_TRUE(run(world_, image->close()).ok());
  }
  const std::uint64_t entry = field(format::at::snapshots_offset);
  const std::uint64_t l1 = field(entry);
  for (const std::uint64_t wrong : {l1 + 512, std::uint64_t{1} << 63 | 4096}) {
    set_field(entry, wrong);
    const auto image = open(true);
    EXPECT_FALSE(run(world_, image->apply_snapshot("s")).ok()) << wrong;
    EXPECT_FALSE(run(world_, image->delete_snapshot("s")).ok()) << wrong;
  }
  set_field(entry, l1);
  set_field(entry + 8, std::uint64_t{0x0400'0001} << 32 | 0x0001'0001);  // entries; id, name
  const auto image = open(true);
  EXPECT_FALSE(run(world_, image->apply_snapshot("s")).ok());
  EXPECT_FALSE(run(world_, image->delete_snapshot("s")).ok());
}

class KeySlots : public BrokenImages {
 protected:
  void SetUp() override {
    make({.size = kDisk,
          .cluster_bits = 12,
          .encrypt = {.format = EncryptOptions::Format::luks,
                      .passphrase = "a",
                      .iterations = 1000,
                      .random = noise}});
  }
  static void noise(MutableBytes bytes) { std::ranges::fill(bytes, std::byte{0x5a}); }
  void make(CreateOptions options) {
    file_ = std::make_shared<storage::MemoryFile>();
    ASSERT_TRUE(run(world_, create(file_, std::move(options))).ok());
  }
  // What the change is refused with; empty: it is done.
  std::string change(AmendOptions::Key key) {
    const auto image = open(true);
    if (key.activate && key.iterations == 0) key.iterations = 1000;
    const auto done =
        run(world_, amend(*image, {.key = std::move(key), .unlock_secret = "a", .random = noise}));
    EXPECT_TRUE(run(world_, image->close()).ok());
    return done ? "" : done.error().desc;
  }
  bool opens(const std::string& passphrase) {
    const auto header = run(world_, read_header(*file_, false));
    return run(world_, unlock(*file_, *header, passphrase)).ok();
  }
};

// QEMU's rules of QCryptoBlockAmendOptionsLUKS, whose words encryption_test.cc compares.
TEST_F(KeySlots, TheLastKeyAndTheRightKey) {
  EXPECT_NE(change({.activate = false, .keyslot = 0}), "");
  EXPECT_NE(change({.activate = false, .old_secret = "a"}), "");
  EXPECT_NE(change({.activate = false, .old_secret = "x"}), "");
  EXPECT_NE(change({.activate = false, .keyslot = 3}), "");
  EXPECT_NE(change({.activate = false, .new_secret = "b", .keyslot = 3}), "");
  EXPECT_NE(change({.new_secret = "b", .old_secret = "a"}), "");
  EXPECT_NE(change({.new_secret = "b", .keyslot = 0}), "");
  EXPECT_NE(change({.new_secret = "b", .keyslot = 8}), "");
  EXPECT_TRUE(opens("a"));

  EXPECT_EQ(change({.new_secret = "b", .keyslot = 5}), "");
  EXPECT_TRUE(opens("b"));
  EXPECT_NE(change({.activate = false, .old_secret = "a", .keyslot = 5}), "");
  EXPECT_EQ(change({.activate = false, .old_secret = "b", .keyslot = 5}), "");
  EXPECT_FALSE(opens("b"));
  EXPECT_EQ(change({.activate = false, .keyslot = 5, .force = true}), "");
  EXPECT_EQ(change({.new_secret = "b", .keyslot = 5, .force = true}), "");
  EXPECT_TRUE(opens("a") && opens("b"));
}

TEST_F(KeySlots, ThereAreEight) {
  for (int i = 1; i < 8; ++i) EXPECT_EQ(change({.new_secret = "b"}), "") << i;
  EXPECT_EQ(change({.new_secret = "c"}), "Can't add a keyslot - all keyslots are in use");
  EXPECT_EQ(change({.new_secret = "c", .keyslot = 7, .force = true}), "");
  EXPECT_TRUE(opens("a") && opens("b") && opens("c"));
  EXPECT_EQ(change({.activate = false, .old_secret = "b"}), "");
  EXPECT_FALSE(opens("b"));
  EXPECT_TRUE(opens("a") && opens("c"));
}

// Pages of counts that agree with the file's are not looked at one by one: those that do not are.
TEST(FullImages, OneWrongCountIsFound) {
  constexpr std::uint64_t kClusters = 9000;
  World world(1);
  const auto file = std::make_shared<storage::MemoryFile>();
  ASSERT_TRUE(run(world, create(*file, {.size = kClusters * 4096,
                                        .cluster_bits = 12,
                                        .preallocation = Preallocation::metadata}))
                  .ok());
  const auto errors = [&] {
    const auto checked = run(world, check(file, {}));
    EXPECT_TRUE(checked.ok());
    return std::pair(checked->corruptions, checked->leaks);
  };
  EXPECT_EQ(errors(), std::pair(std::uint64_t{0}, std::uint64_t{0}));
  std::array<std::byte, 8> bytes{};
  file->read_now(format::at::refcount_table_offset, bytes);
  const auto table = load_be<std::uint64_t>(bytes, 0);
  for (const std::uint64_t cluster : {1000, 2047, 2048, 4100, 8191}) {
    file->read_now(table + cluster / 2048 * 8, bytes);
    const std::uint64_t place = load_be<std::uint64_t>(bytes, 0) + cluster % 2048 * 2;
    const std::array<std::byte, 2> none{}, two{std::byte{0}, std::byte{2}};
    const std::array<std::byte, 2> one{std::byte{0}, std::byte{1}};
    file->write_now(place, none);
    // The count, and the COPIED flag that does not go with it.
    EXPECT_EQ(errors(), std::pair(std::uint64_t{2}, std::uint64_t{0})) << cluster;
    file->write_now(place, two);
    EXPECT_EQ(errors().second, 1U) << cluster;
    file->write_now(place, one);
  }
  EXPECT_EQ(errors(), std::pair(std::uint64_t{0}, std::uint64_t{0}));
}

}  // namespace
}  // namespace sim::qcow2
