// New images against `qemu-img create`: the same bytes, the same refusals.

#include "sim/qcow2/create.h"

#include <algorithm>
#include <array>
#include <utility>

#include "sim/qcow2/header.h"

#include "sim/qcow2/qemu_tools.h"

namespace sim::qcow2 {
namespace {

class CreateTest : public testing::WithQemu {
 protected:
  // The options as qemu-img wants them.
  static std::string arguments(const CreateOptions& options) {
    constexpr std::array kModes = {"off", "metadata", "falloc", "full"};
    std::string text = "-o cluster_size=" + std::to_string(1ULL << options.cluster_bits);
    if (options.version == 2) text += ",compat=0.10";
    if (options.refcount_order != 4)
      text += ",refcount_bits=" + std::to_string(1U << options.refcount_order);
    if (options.lazy_refcounts) text += ",lazy_refcounts=on";
    if (options.extended_l2) text += ",extended_l2=on";
    if (options.compression == Compression::zstd) text += ",compression_type=zstd";
    if (options.preallocation != Preallocation::off)
      text += std::string(",preallocation=") + kModes[std::to_underlying(options.preallocation)];
    if (!options.data_file.empty()) text += ",data_file=" + options.data_file;
    if (options.data_file_raw) text += ",data_file_raw=on";
    if (options.encrypt.format == EncryptOptions::Format::aes)
      text = "--object secret,id=s,data=abc " + text + ",encrypt.format=aes,encrypt.key-secret=s";
    if (!options.backing_file.empty()) text += " -u -b '" + options.backing_file + "'";
    if (!options.backing_format.empty()) text += " -F " + options.backing_format;
    return text;
  }

  void expect_same(const CreateOptions& options) {
    const std::string text = arguments(options);
    SCOPED_TRACE("size " + std::to_string(options.size) + " " + text);
    must("qemu-img create -q -f qcow2 " + text + " qemu.qcow2 " + std::to_string(options.size));
    auto file = std::make_shared<storage::MemoryFile>();
    const auto old = std::vector<std::byte>(100000, std::byte{0xaa});
    file->write_now(12345, old);  // what was there is gone
    std::shared_ptr<storage::MemoryFile> data;
    if (!options.data_file.empty()) data = std::make_shared<storage::MemoryFile>();
    const auto made = run(world_, create(file, options, data));
    ASSERT_TRUE(made.ok()) << made.error().desc;
    EXPECT_EQ(testing::difference(*file, directory_ / "qemu.qcow2"), "");
    if (data) EXPECT_EQ(testing::difference(*data, directory_ / options.data_file), "");
  }

  void expect_refused(const CreateOptions& options) {
    const std::string text = arguments(options);
    SCOPED_TRACE(text);
    auto file = std::make_shared<storage::MemoryFile>();
    file->write_now(0, std::vector<std::byte>(10, std::byte{1}));
    const auto made = run(world_, create(file, options));
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(file->size(), 10U) << "touched";
    const testing::Ran ran =
        testing::run_command("cd " + directory_.path() + " && qemu-img create -q -f qcow2 " + text +
                             " x " + std::to_string(options.size));
    EXPECT_EQ(ran.status, 1);
    EXPECT_EQ("qemu-img: x: " + made.error().desc + "\n", ran.output);
  }
};

TEST_F(CreateTest, SameBytesForEverySizeAndClusterSize) {
  for (const std::uint64_t size :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1000}, 64_MiB, 512_MiB + 1, 1024_GiB})
    for (const std::uint32_t bits : {9U, 12U, 13U, 16U, 21U}) {
      if (bits == 9 && size == 1024_GiB) continue;  // refused, below
      expect_same({.size = size, .cluster_bits = bits});
    }
}

TEST_F(CreateTest, SameBytesWithABackingFile) {
  for (const std::uint32_t bits : {9U, 16U})
    for (const std::string& name : {std::string("base.qcow2"), std::string(200, 'x')})
      for (const std::string& format : {"raw", "qcow2"})
        expect_same(
            {.size = 1_MiB, .cluster_bits = bits, .backing_file = name, .backing_format = format});
  expect_same({.size = 1_MiB, .backing_file = std::string(1023, 'y'), .backing_format = "qcow2"});
  expect_same({.size = 1_MiB, .backing_file = "y", .backing_format = "vmdk", .version = 2});
}

// 512-byte clusters: the L1 table of 8 GiB needs 16 more refcount blocks, that of 128 GiB a larger
// refcount table.
TEST_F(CreateTest, RefcountBlocksAndTableGrowInTheSamePlaces) {
  for (const std::uint64_t gib : {1, 8, 128}) expect_same({.size = gib << 30, .cluster_bits = 9});
  expect_same({.size = 8_GiB, .cluster_bits = 9, .refcount_order = 6});
}

TEST_F(CreateTest, SameBytesForEveryOption) {
  for (const std::uint32_t order : {0U, 1U, 2U, 3U, 5U, 6U})
    expect_same({.size = 64_MiB, .cluster_bits = 12, .refcount_order = order});
  expect_same({.size = 1_MiB, .version = 2});
  expect_same({.size = 1_MiB, .cluster_bits = 9, .version = 2});
  expect_same({.size = 1_MiB, .lazy_refcounts = true, .compression = Compression::zstd});
  expect_same({.size = 1024_GiB, .cluster_bits = 14, .extended_l2 = true});
  expect_same({.size = 1_MiB, .encrypt = {.format = EncryptOptions::Format::aes}});
  expect_same({.size = 1_MiB, .version = 2, .encrypt = {.format = EncryptOptions::Format::aes}});
}

TEST_F(CreateTest, SameBytesPreallocated) {
  constexpr Preallocation kMetadata = Preallocation::metadata;
  constexpr Preallocation kFalloc = Preallocation::falloc;
  for (const Preallocation how : {kMetadata, kFalloc, Preallocation::full})
    for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{100000}, 4_MiB})
      expect_same({.size = size, .preallocation = how});
  for (const Preallocation how : {kMetadata, kFalloc}) {
    expect_same({.size = 1_MiB, .cluster_bits = 9, .preallocation = how});
    expect_same({.size = 10_MiB, .cluster_bits = 21, .preallocation = how});
    expect_same({.size = 600000, .cluster_bits = 9, .refcount_order = 6, .preallocation = how});
    expect_same({.size = 600000, .cluster_bits = 9, .refcount_order = 0, .preallocation = how});
    expect_same({.size = 1_MiB, .version = 2, .preallocation = how});
  }
  for (const Preallocation how : {kMetadata, kFalloc})
    for (const std::uint64_t size : {std::uint64_t{100000}, 1_MiB, 3_MiB + 512})
      expect_same({.size = size, .extended_l2 = true, .preallocation = how});
  expect_same({.size = 1_MiB,
               .backing_file = "b",
               .backing_format = "raw",
               .extended_l2 = true,
               .preallocation = kFalloc});
  expect_same({.size = 2_GiB, .preallocation = kMetadata});  // more than one L2 table and block
  expect_same({.size = 100_MiB, .cluster_bits = 12, .preallocation = kFalloc});
}

TEST_F(CreateTest, SameBytesWithADataFile) {
  for (const bool raw : {false, true})
    for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{100000}, 600_MiB})
      expect_same({.size = size, .data_file = "data", .data_file_raw = raw});
  for (const Preallocation how :
       {Preallocation::metadata, Preallocation::falloc, Preallocation::full})
    expect_same({.size = 1_MiB, .preallocation = how, .data_file = "data"});
}

// Key and salts are chance, and so is the whole area; all around it is the same.
TEST_F(CreateTest, TheLuksAreaComesLast) {
  for (const bool preallocated : {false, true}) {
    must(
        "qemu-img create -q -f qcow2 --object secret,id=s,data=abc "
        "-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10" +
        std::string(preallocated ? ",preallocation=falloc" : " -u -b base -F raw") + " theirs 1M");
    CreateOptions options{.size = 1_MiB};
    if (preallocated) {
      options.preallocation = Preallocation::falloc;
    } else {
      options.backing_file = "base";
      options.backing_format = "raw";
    }
    options.encrypt = {
        .format = EncryptOptions::Format::luks,
        .passphrase = "abc",
        .iterations = 1000,
        .random = [](MutableBytes bytes) { std::ranges::fill(bytes, std::byte{0x5a}); }};
    auto file = std::make_shared<storage::MemoryFile>();
    const auto made = run(world_, create(file, options));
    ASSERT_TRUE(made.ok()) << made.error().desc;
    const auto header = run(world_, read_header(*file, HeaderUse::change));
    ASSERT_TRUE(header.ok() && header->crypto);
    // Take theirs instead of ours, and nothing differs.
    const std::vector<std::byte> theirs = testing::contents(directory_ / "theirs");
    file->write_now(header->crypto->offset.value,
                    Bytes(theirs).subspan(header->crypto->offset.value, header->crypto->length));
    EXPECT_EQ(testing::difference(*file, directory_ / "theirs"), "");
  }
}

TEST_F(CreateTest, RefusalsHaveQemusWordsInItsOrder) {
  for (const std::uint32_t bits : {8U, 22U}) expect_refused({.size = 1_MiB, .cluster_bits = bits});
  expect_refused({.size = 1_MiB, .cluster_bits = 8, .version = 2, .extended_l2 = true});
  expect_refused({.size = 1_MiB, .cluster_bits = 13, .extended_l2 = true});
  expect_refused({.size = 1_MiB,
                  .backing_file = "b",
                  .backing_format = "raw",
                  .version = 2,
                  .lazy_refcounts = true,
                  .preallocation = Preallocation::metadata});
  expect_refused({.size = 1_MiB, .backing_format = "raw", .version = 2, .lazy_refcounts = true});
  expect_refused({.size = 1_MiB, .version = 2, .refcount_order = 3, .lazy_refcounts = true});
  expect_refused({.size = 1_MiB, .refcount_order = 7});
  expect_refused({.size = 1_MiB, .version = 2, .refcount_order = 3});
  expect_refused({.size = 1_MiB,
                  .backing_file = "b",
                  .backing_format = "raw",
                  .version = 2,
                  .data_file = "d",
                  .data_file_raw = true});
  expect_refused({.size = 1_MiB, .version = 2, .data_file = "d"});
  expect_refused(
      {.size = 1_MiB, .version = 2, .compression = Compression::zstd, .data_file_raw = true});
  expect_refused({.size = 1_MiB, .version = 2, .compression = Compression::zstd});
  expect_refused({.size = 9223372036854775807});
  for (const auto& [bits, length] : {std::pair{16U, 1024U}, {9U, 400U}})
    expect_refused({.size = 1_MiB,
                    .cluster_bits = bits,
                    .backing_file = std::string(length, 'z'),
                    .backing_format = "raw"});
  std::string long_name = "d";
  for (int i = 0; i < 200; ++i) long_name = "./" + long_name;
  expect_refused({.size = 1_MiB, .cluster_bits = 9, .data_file = long_name});
}

// qemu-img says the same of every size that is too large for the format.
TEST_F(CreateTest, TheLargestSizes) {
  const auto create_ours = [&](std::uint32_t bits, std::uint64_t size) {
    storage::MemoryFile file;
    const auto made = run(world_, create(file, {.size = size, .cluster_bits = bits}));
    return made.ok() ? 0 : made.error().number;
  };
  for (const auto& [bits, size] :
       {std::pair{9U, 128_GiB}, {16U, std::uint64_t{1} << 51}, {21U, std::uint64_t{1} << 61}}) {
    SCOPED_TRACE(bits);
    const std::string command =
        "qemu-img create -q -f qcow2 -o cluster_size=" + std::to_string(1U << bits) + " " +
        (directory_ / "x") + " ";
    EXPECT_EQ(create_ours(bits, size), 0);
    EXPECT_EQ(testing::run_command(command + std::to_string(size)).status, 0);
    EXPECT_EQ(create_ours(bits, size + 1), EFBIG);
    EXPECT_EQ(testing::run_command(command + std::to_string(size + 1)).status, 1);
  }
}

}  // namespace
}  // namespace sim::qcow2
