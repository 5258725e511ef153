// Headers read back as written; images of other making open.

#include "sim/qcow2/header.h"

#include "sim/qcow2/create.h"
#include "sim/qcow2/image.h"
#include "sim/qcow2/qemu_tools.h"

namespace sim::qcow2 {
namespace {

class HeaderTest : public testing::WithQemu {
 protected:
  std::shared_ptr<storage::MemoryFile> load(const std::string& name) {
    auto file = std::make_shared<storage::MemoryFile>();
    file->write_now(0, testing::contents(directory_ / name));
    return file;
  }
  std::unique_ptr<Image> open(std::shared_ptr<storage::Storage> file, bool writable) {
    auto image = run(world_, Image::open(world_, std::move(file), writable));
    EXPECT_TRUE(image.ok()) << image.error().desc;
    return *std::move(image);
  }
};

TEST_F(HeaderTest, EveryFieldSurvivesWritingAndReading) {
  Header header;
  header.size = 1_MiB;
  header.l1_size = 1;
  header.l1_table_offset = {0x30000};
  header.refcount_table_offset = {0x10000};
  header.refcount_table_clusters = 1;
  header.incompatible_features = format::kIncompatibleDataFile;
  header.compatible_features = 0xff;
  header.autoclear_features = format::kAutoclearBitmaps;
  header.crypt_method = format::kCryptLuks;
  header.crypto = CryptoPointer{.offset = {0x40000}, .length = 12345};
  header.bitmaps = BitmapsPointer{.count = 3, .directory_bytes = 99, .directory = {0x50000}};
  header.data_file = "a data file";
  header.backing_file = std::string(1023, 'n');
  header.backing_format = "qcow2";
  header.unknown_fields.assign(16, std::byte{7});
  header.unknown_extensions.push_back({0x12345678, std::vector<std::byte>(13, std::byte{5})});
  const auto bytes = serialise_header(header);
  ASSERT_TRUE(bytes.ok());
  const auto more = parse_header(Bytes(*bytes).first(1024), true);
  ASSERT_TRUE(more.ok());
  EXPECT_FALSE(more->has_value()) << "the name lies beyond";
  const auto parsed = parse_header(*bytes, true);
  ASSERT_TRUE(parsed.ok() && parsed->has_value());
  const Header& again = **parsed;
  EXPECT_EQ(again.size, header.size);
  EXPECT_EQ(again.l1_table_offset, header.l1_table_offset);
  EXPECT_EQ(again.compatible_features, header.compatible_features);
  EXPECT_EQ(again.crypto, header.crypto);
  EXPECT_EQ(again.bitmaps, header.bitmaps);
  EXPECT_EQ(again.data_file, header.data_file);
  EXPECT_EQ(again.backing_file, header.backing_file);
  EXPECT_EQ(again.backing_format, header.backing_format);
  EXPECT_EQ(again.unknown_fields, header.unknown_fields);
  EXPECT_EQ(again.unknown_extensions, header.unknown_extensions);
  EXPECT_EQ(again.feature_names.size(), 8U);
  EXPECT_EQ(again.header_length, 128U);
}

// Every kind of header that QEMU makes is written back as it made it.
TEST_F(HeaderTest, RewrittenHeadersAreQemus) {
  const std::string luks =
      "--object secret,id=s,data=abc -o encrypt.format=luks,encrypt.key-secret=s,"
      "encrypt.iter-time=10";
  for (const std::string& arguments :
       {std::string("-o compat=0.10"), std::string("-o compat=0.10,cluster_size=512"),
        "-u -b base -F qcow2 -o compat=0.10 " + luks, std::string("-u -b base -F raw"),
        std::string("-o data_file=d"), std::string("-o data_file=d,data_file_raw=on"),
        std::string("-o extended_l2=on,compression_type=zstd,lazy_refcounts=on"),
        std::string("-o cluster_size=4k,data_file=d"), std::string("-o refcount_bits=1")}) {
    SCOPED_TRACE(arguments);
    must("qemu-img create -q -f qcow2 " + arguments + " theirs 1M");
    if (arguments.find("d,") != std::string::npos || arguments == "-o refcount_bits=1")
      must("qemu-img bitmap --add theirs bitmap");
    const auto file = load("theirs");
    const auto header = run(world_, read_header(*file, HeaderUse::change));
    ASSERT_TRUE(header.ok()) << header.error().desc;
    const auto bytes = serialise_header(*header);
    ASSERT_TRUE(bytes.ok());
    std::vector<std::byte> cluster(std::uint64_t{1} << header->cluster_bits);
    std::ranges::copy(*bytes, cluster.begin());
    file->write_now(0, cluster);
    EXPECT_EQ(testing::difference(*file, directory_ / "theirs"), "");
  }
}

TEST_F(HeaderTest, ALongBackingNameIsReadFromTheFile) {
  const std::string name(1023, 'n');
  must("qemu-img create -q -f qcow2 -u -b " + name + " -F raw x 1M");
  EXPECT_EQ(open(load("x"), false)->header().backing_file, name);
}

TEST_F(HeaderTest, Version2IsRead) {
  must("qemu-img create -q -f qcow2 -o compat=0.10 x 1M");
  must("qemu-io -f qcow2 -c 'write -P 5 100k 10k' x");
  const auto image = open(load("x"), false);
  std::vector<std::byte> got(10_KiB);
  ASSERT_TRUE(run(world_, image->read({100_KiB}, got)).ok());
  EXPECT_EQ(got, std::vector<std::byte>(10_KiB, std::byte{5}));
}

TEST_F(HeaderTest, UnknownAutoclearBitsGoWhenOpenedForWriting) {
  must("qemu-img create -q -f qcow2 theirs 1M");
  must("printf '\\377' | dd of=theirs bs=1 seek=90 conv=notrunc status=none");
  const auto file = load("theirs");
  open(file, false);
  EXPECT_EQ(testing::difference(*file, directory_ / "theirs"), "");
  ASSERT_TRUE(run(world_, open(file, true)->close()).ok());
  must("qemu-io -f qcow2 -c 'read 0 512' theirs");
  EXPECT_EQ(testing::difference(*file, directory_ / "theirs"), "");
}

TEST_F(HeaderTest, OtherRefcountWidthsAreWrittenAsByQemu) {
  for (const int width : {1, 2, 4, 8, 16, 32, 64}) {
    SCOPED_TRACE(width);
    must("qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=" + std::to_string(width) +
         " theirs 4M");
    const auto file = load("theirs");
    const auto image = open(file, true);
    const std::vector<std::byte> data(1_MiB, std::byte{1});
    ASSERT_TRUE(run(world_, image->write({100}, data)).ok());
    ASSERT_TRUE(run(world_, image->discard({200_KiB}, 100_KiB)).ok());
    ASSERT_TRUE(run(world_, image->write({3_MiB}, Bytes(data).first(70_KiB))).ok());
    ASSERT_TRUE(run(world_, image->close()).ok());
    must(
        "qemu-io -d unmap -f qcow2 -c 'write -P 1 100 1M' -c 'discard 200k 100k' "
        "-c 'write -P 1 3M 70k' theirs");
    EXPECT_EQ(testing::difference(*file, directory_ / "theirs"), "");
  }
}

TEST_F(HeaderTest, SharedClustersAreCopiedNotOverwritten) {
  // A snapshot that was deleted leaves entries without COPIED behind until qemu-img repairs them.
  must("qemu-img create -q -f qcow2 theirs 1M");
  must("qemu-io -f qcow2 -c 'write -P 1 0 128k' theirs");
  must("qemu-img snapshot -c one theirs && qemu-io -f qcow2 -c 'write -P 2 4k 4k' theirs");
  // Forget the snapshot: its clusters leak, shared as they are.
  must("printf '\\0\\0\\0\\0' | dd of=theirs bs=1 seek=60 conv=notrunc status=none");
  const auto file = load("theirs");
  const auto image = open(file, true);
  const std::vector<std::byte> data(4096, std::byte{3});
  ASSERT_TRUE(run(world_, image->write({68_KiB}, data)).ok());
  ASSERT_TRUE(run(world_, image->close()).ok());
  must("qemu-io -f qcow2 -c 'write -P 3 68k 4k' theirs");
  EXPECT_EQ(testing::difference(*file, directory_ / "theirs"), "");
}

}  // namespace
}  // namespace sim::qcow2
