// Amending against `qemu-img amend`: the same bytes, the same refusals.

#include "sim/qcow2/amend.h"

#include <array>
#include <filesystem>

#include "sim/qcow2/image.h"
#include "sim/qcow2/qemu_tools.h"

namespace sim::qcow2 {
namespace {

// Beneath the images here: a megabyte of zeroes.
class Zeroes final : public Backing {
 public:
  Task<Result<>> read(std::uint64_t, MutableBytes into) override {
    std::ranges::fill(into, std::byte{0});
    co_return ok();
  }
  std::uint64_t size() const override { return 1_MiB; }
  Task<Result<bool>> reads_as_zero(std::uint64_t, std::uint64_t) override { co_return true; }
};

class AmendTest : public testing::WithQemu {
 protected:
  // `prepare` makes the image `x`; `options` are what -o says.
  void expect_same(const std::string& prepare, const std::string& text, AmendOptions options) {
    SCOPED_TRACE(prepare + ": " + text);
    must("rm -f x d b; truncate -s 1M b; " + prepare);
    auto file = std::make_shared<storage::MemoryFile>();
    file->write_now(0, testing::contents(directory_ / "x"));
    const testing::Ran theirs = testing::run_command(
        "cd " + directory_.path() + " && qemu-img amend -f qcow2 -o " + text + " x");
    std::shared_ptr<storage::MemoryFile> data;
    if (std::filesystem::exists(directory_ / "d")) data = std::make_shared<storage::MemoryFile>();
    auto opened =
        run(world_, Image::open(world_, file, OpenOptions{.writable = true, .data_file = data}));
    ASSERT_TRUE(opened.ok()) << opened.error().desc;
    Zeroes below;
    if (!(*opened)->header().backing_file.empty()) (*opened)->set_backing(&below);
    const auto amended = run(world_, amend(**opened, std::move(options)));
    EXPECT_EQ(amended.ok() ? "" : "qemu-img: " + amended.error().desc + "\n", theirs.output);
    ASSERT_TRUE(run(world_, (*opened)->close()).ok());
    EXPECT_EQ(testing::difference(*file, directory_ / "x"), "");
  }

  static std::string made(const std::string& options, const std::string& commands = "") {
    std::string text = "qemu-img create -q -f qcow2 " + options;
    if (!commands.empty()) text += " && qemu-io -f qcow2 " + commands + " x >io";
    return text;
  }
};

TEST_F(AmendTest, VersionsBothWays) {
  expect_same(made("x 1M"), "compat=0.10", {.version = 2});
  expect_same(made("-o compat=0.10 x 1M"), "compat=1.1", {.version = 3});
  expect_same(made("-o compat=0.10 x 1M"), "compat=1.1,lazy_refcounts=on,refcount_bits=64",
              {.version = 3, .lazy_refcounts = true, .refcount_order = 6});
  expect_same(made("-o lazy_refcounts=on,refcount_bits=8 x 1M"), "compat=0.10,refcount_bits=16",
              {.version = 2, .refcount_order = 4});
  expect_same(made("-b b -F raw x 1M"), "compat=0.10", {.version = 2});
  expect_same(made("-o compression_type=zstd x 1M"), "compat=0.10", {.version = 2});
}

TEST_F(AmendTest, Version2HasNoZeroClusters) {
  const std::string commands =
      "-c 'write -z 0 64k' -c 'write -P 3 8k 64k' -c 'write -z 8k 4k' -c 'write -z 600k 10k'";
  expect_same(made("-o cluster_size=4k x 1M", commands), "compat=0.10", {.version = 2});
  expect_same(made("-o cluster_size=4k -b b -F raw x 1M", commands), "compat=0.10", {.version = 2});
}

TEST_F(AmendTest, RefcountsOfAnotherWidth) {
  for (const std::uint32_t order : {0U, 3U, 6U})
    for (const char* options : {"x 4M", "-o cluster_size=512 x 1M"})
      expect_same(made(options, "-c 'write -P 1 0 1M'"),
                  "refcount_bits=" + std::to_string(1U << order), {.refcount_order = order});
  expect_same(made("-o refcount_bits=1,cluster_size=512 x 4M", "-c 'write -P 1 0 4M'"),
              "refcount_bits=64", {.refcount_order = 6});
  expect_same(made("-o refcount_bits=64,cluster_size=512 x 4M", "-c 'write -P 1 0 4M'"),
              "refcount_bits=1", {.refcount_order = 0});
}

TEST_F(AmendTest, NamesSizesAndLazyRefcounts) {
  expect_same(made("-o data_file=d x 1M"), "data_file=e", {.data_file = "e"});
  expect_same(made("x 1M"), "lazy_refcounts=on", {.lazy_refcounts = true});
  expect_same(made("-o lazy_refcounts=on x 1M"), "lazy_refcounts=off", {.lazy_refcounts = false});
  expect_same(made("x 1M"), "size=2M", {.size = 2_MiB});
  expect_same(made("x 1M"), "size=0,data_file_raw=off", {.size = 0, .data_file_raw = false});
  expect_same(made("-b b -F raw x"), "backing_file=b,backing_fmt=raw",
              {.backing_file = "b", .backing_format = "raw"});
}

// What was written before has its counts in the file, and what is written after gets them at once.
TEST_F(AmendTest, WithoutLazyRefcountsNothingIsLeftToCount) {
  const std::array<AmendOptions, 2> without = {AmendOptions{.lazy_refcounts = false},
                                               AmendOptions{.version = 2}};
  for (const AmendOptions& options : without) {
    must("qemu-img create -q -f qcow2 -o lazy_refcounts=on x 1M");
    auto file = std::make_shared<storage::MemoryFile>();
    file->write_now(0, testing::contents(directory_ / "x"));
    auto image = *run(world_, Image::open(world_, file, OpenOptions{.writable = true}));
    const std::vector<std::byte> data(64_KiB, std::byte{7});
    ASSERT_TRUE(run(world_, image->write({0}, data)).ok());
    ASSERT_TRUE(image->header().is_dirty());
    ASSERT_TRUE(run(world_, amend(*image, options)).ok());
    for (const std::uint64_t at : {std::uint64_t{0}, 128_KiB}) {
      ASSERT_TRUE(run(world_, image->write({at}, data)).ok());
      ASSERT_TRUE(run(world_, image->flush()).ok());
      EXPECT_FALSE(run(world_, read_header(*file, false))->is_dirty());
      testing::save(*file, directory_ / "y");
      must("qemu-img check -q -f qcow2 y");
    }
    ASSERT_TRUE(run(world_, image->close()).ok());
  }
}

TEST_F(AmendTest, RefusalsHaveQemusWords) {
  expect_same(made("x 1M"), "compat=0.10,refcount_bits=8", {.version = 2, .refcount_order = 3});
  expect_same(made("-o refcount_bits=8 x 1M"), "compat=0.10", {.version = 2});
  expect_same(made("-o compat=0.10 x 1M"), "lazy_refcounts=on", {.lazy_refcounts = true});
  expect_same(made("-o compat=0.10 x 1M"), "refcount_bits=8", {.refcount_order = 3});
  expect_same(made("x 1M"), "data_file=d", {.data_file = "d"});
  expect_same(made("x 1M"), "data_file_raw=on", {.data_file_raw = true});
  expect_same(made("-o data_file=d x 1M"), "compat=0.10", {.version = 2});
  expect_same(made("-o extended_l2=on x 1M"), "compat=0.10", {.version = 2});
  expect_same(made("x 1M"), "backing_file=b", {.backing_file = "b"});
  expect_same(made("-b b -F raw x"), "backing_file=b", {.backing_file = "b"});
  expect_same(made("-b b -F raw x"), "backing_file=c,backing_fmt=raw",
              {.backing_file = "c", .backing_format = "raw"});
  expect_same(made("x 1M"), "size=1000", {.size = 1000});
  expect_same(made("-o compression_type=zstd x 1M", "-c 'write -c -P 3 0 64k'"), "compat=0.10",
              {.version = 2});
}

}  // namespace
}  // namespace sim::qcow2
