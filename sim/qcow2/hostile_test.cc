// Broken headers and tables: what qemu-img says, we say; nothing crashes, nothing is allocated on a
// file's word.

#include <gtest/gtest.h>

#include "sim/qcow2/create.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"
#include "sim/qcow2/qemu_tools.h"

namespace sim::qcow2 {
namespace {

struct Edit {
  std::uint64_t at;
  std::uint64_t value;
  unsigned bytes;
};
struct Case {
  const char* name;
  std::vector<Edit> edits;
};

class HostileTest : public testing::WithQemu {
 protected:
  std::shared_ptr<storage::MemoryFile> broken(const std::vector<Edit>& edits) {
    auto file = std::make_shared<storage::MemoryFile>();
    EXPECT_TRUE(
        run(world_,
            create(*file,
                   {.size = 1_MiB, .cluster_bits = 16, .backing_file = "", .backing_format = ""}))
            .ok());
    for (const Edit& edit : edits)
      for (unsigned i = 0; i < edit.bytes; ++i) {
        const auto byte = static_cast<std::byte>(edit.value >> (8 * (edit.bytes - 1 - i)));
        file->write_now(edit.at + i, Bytes(&byte, 1));
      }
    return file;
  }

  std::string open_error(std::shared_ptr<storage::Storage> file, bool writable) {
    const auto image = run(world_, Image::open(world_, std::move(file), writable));
    return image.ok() ? "" : image.error().desc;
  }

  std::string qemus_error(const storage::MemoryFile& file) {
    testing::save(file, directory_ / "x");
    const testing::Ran ran =
        testing::run_command("cd " + directory_.path() + " && qemu-img info -f qcow2 x");
    constexpr std::string_view kPrefix = "qemu-img: Could not open 'x': ";
    if (!ran.output.starts_with(kPrefix)) return "";
    const std::string text = ran.output.substr(kPrefix.size());
    return text.substr(0, text.find('\n'));
  }
};

constexpr std::uint32_t kCrypto = format::extension::encryption;

// One bitmap, whose directory would be at 0x40000, with more edits.
std::vector<Edit> bitmaps(std::vector<Edit> edits) {
  std::vector<Edit> all = {{format::at::autoclear_features, 1, 8},
                           {0x70, format::extension::bitmaps, 4},
                           {0x74, 24, 4},
                           {0x78, 1, 8},
                           {0x80, 32, 8},
                           {0x88, 0x40000, 8},
                           {0x90, 0, 8}};
  all.insert(all.end(), edits.begin(), edits.end());
  return all;
}

namespace at = format::at;
const std::vector<Case> kCases = {
    {"magic", {{at::magic, 0, 1}}},
    {"version 0", {{at::version, 0, 4}}},
    {"version 1", {{at::version, 1, 4}}},
    {"version 4", {{at::version, 4, 4}}},
    {"cluster_bits 8", {{at::cluster_bits, 8, 4}}},
    {"cluster_bits 22", {{at::cluster_bits, 22, 4}}},
    {"cluster_bits max", {{at::cluster_bits, UINT32_MAX, 4}}},
    {"header_length 72", {{at::header_length, 72, 4}}},
    {"header_length 104", {{at::header_length, 104, 4}}},
    {"header_length 105", {{at::header_length, 105, 4}}},
    {"header_length 108", {{at::header_length, 108, 4}}},
    {"header_length 65535", {{at::header_length, 65535, 4}}},
    {"header_length 65536", {{at::header_length, 65536, 4}}},
    {"header_length 65537", {{at::header_length, 65537, 4}}},
    {"backing offset too far",
     {{at::backing_file_offset, 65537, 8}, {at::backing_file_size, 4, 4}}},
    {"backing name beyond the cluster",
     {{at::backing_file_offset, 65530, 8}, {at::backing_file_size, 100, 4}}},
    {"backing name too long",
     {{at::backing_file_offset, 0x210, 8}, {at::backing_file_size, 1024, 4}}},
    {"backing name in the header",
     {{at::backing_file_offset, 0x20, 8}, {at::backing_file_size, 4, 4}}},
    {"incompatible 3", {{at::incompatible_features, 8, 8}}},
    {"incompatible 5", {{at::incompatible_features, 32, 8}}},
    {"incompatible 63, 7 and 5", {{at::incompatible_features, 0x80000000000000a0, 8}}},
    {"incompatible 5, named by the image",
     {{at::incompatible_features, 0x60, 8}, {0x78, 5, 2}, {0x7a, 0x41424300, 4}}},
    {"incompatible 5 and a broken extension",
     {{at::incompatible_features, 32, 8}, {0x74, 0xffffff, 4}}},
    {"compression type without its bit", {{at::compression_type, 1, 1}}},
    {"compression type 2", {{at::compression_type, 2, 1}, {at::incompatible_features, 8, 8}}},
    {"refcount_order 7", {{at::refcount_order, 7, 4}}},
    {"refcount_order max", {{at::refcount_order, UINT32_MAX, 4}}},
    {"crypt_method 3", {{at::crypt_method, 3, 4}}},
    {"no refcount table", {{at::refcount_table_clusters, 0, 4}}},
    {"refcount table 128", {{at::refcount_table_clusters, 128, 4}}},
    {"refcount table 129", {{at::refcount_table_clusters, 129, 4}}},
    {"refcount table max", {{at::refcount_table_clusters, UINT32_MAX, 4}}},
    {"refcount table unaligned", {{at::refcount_table_offset, 0x10200, 8}}},
    {"refcount table at the end of the world",
     {{at::refcount_table_offset, 0x7fffffffffff0000, 8}}},
    {"refcount table beyond it", {{at::refcount_table_offset, 0xffffffffffff0000, 8}}},
    {"refcount table beyond the file", {{at::refcount_table_offset, 1ULL << 40, 8}}},
    {"too many snapshots", {{at::nb_snapshots, 65537, 4}}},
    {"snapshots max", {{at::nb_snapshots, UINT32_MAX, 4}}},
    {"snapshot table unaligned", {{at::snapshots_offset, 513, 8}}},
    {"l1_size 0", {{at::l1_size, 0, 4}}},
    {"l1_size 4194304", {{at::l1_size, 4194304, 4}}},
    {"l1_size 4194305", {{at::l1_size, 4194305, 4}}},
    {"l1_size max", {{at::l1_size, UINT32_MAX, 4}}},
    {"L1 table unaligned", {{at::l1_table_offset, 0x200, 8}}},
    {"L1 table negative", {{at::l1_table_offset, 1ULL << 63, 8}}},
    {"L1 table beyond the file", {{at::l1_table_offset, 1ULL << 40, 8}}},
    {"size 2^63", {{at::size, 1ULL << 63, 8}}},
    {"size 2^62", {{at::size, 1ULL << 62, 8}}},
    {"size 2^40", {{at::size, 1ULL << 40, 8}}},
    {"size max", {{at::size, UINT64_MAX, 8}}},
    {"size 1000", {{at::size, 1000, 8}}},
    {"size 0", {{at::size, 0, 8}}},
    {"extension too long", {{0x74, 0x10000, 4}}},
    {"extension max", {{0x74, UINT32_MAX, 4}}},
    {"format of 15", {{0x70, format::extension::backing_format, 4}, {0x74, 15, 4}}},
    {"format of 16", {{0x70, format::extension::backing_format, 4}, {0x74, 16, 4}}},
    {"incompatible 5 and compression type",
     {{at::incompatible_features, 32, 8}, {at::compression_type, 1, 1}}},
    {"incompatible 5 and 3", {{at::incompatible_features, 40, 8}}},
    {"crypt_method 3 and no refcount table",
     {{at::crypt_method, 3, 4}, {at::refcount_table_clusters, 0, 4}}},
    {"crypt_method 3 and size 2^62", {{at::crypt_method, 3, 4}, {at::size, 1ULL << 62, 8}}},
    {"crypt_method 3 and a long extension", {{at::crypt_method, 3, 4}, {0x74, 0x10000, 4}}},
    {"crypt_method 1", {{at::crypt_method, 1, 4}}},
    {"order 7 and crypt_method 3", {{at::crypt_method, 3, 4}, {at::refcount_order, 7, 4}}},
    {"header_length 110", {{at::header_length, 110, 4}}},
    {"header_length 120", {{at::header_length, 120, 4}}},
    {"end with a length", {{0x70, 0, 4}, {0x74, 100, 4}}},
    {"end with a length too long", {{0x70, 0, 4}, {0x74, 100000, 4}}},
    {"half an extension before the name",
     {{at::backing_file_offset, 0x7c, 8}, {at::backing_file_size, 4, 4}, {0x74, 0, 4}}},
    {"encryption extension", {{0x70, kCrypto, 4}, {0x74, 16, 4}}},
    {"encryption extension for AES", {{at::crypt_method, 1, 4}, {0x70, kCrypto, 4}}},
    {"encryption extension of 15", {{at::crypt_method, 2, 4}, {0x70, kCrypto, 4}, {0x74, 15, 4}}},
    {"encryption header unaligned",
     {{at::crypt_method, 2, 4}, {0x70, kCrypto, 4}, {0x74, 16, 4}, {0x78, 513, 8}}},
    {"bitmaps of 23", bitmaps({{0x74, 23, 4}})},
    {"bitmaps of 25", bitmaps({{0x74, 25, 4}})},
    {"bitmaps without their bit", bitmaps({{at::autoclear_features, 0, 8}})},
    {"bitmaps of 23 without their bit", bitmaps({{at::autoclear_features, 0, 8}, {0x74, 23, 4}})},
    {"no bitmaps", bitmaps({{0x78, 0, 4}})},
    {"65536 bitmaps", bitmaps({{0x78, 65536, 4}})},
    {"bitmaps reserved", bitmaps({{0x7c, 1, 4}, {0x78, 0, 4}, {0x88, 1, 8}})},
    {"bitmap directory unaligned", bitmaps({{0x88, 0x40008, 8}})},
    {"bitmap directory too large", bitmaps({{0x80, 67107841, 8}})},
    {"data file's name without its bit",
     {{0x70, format::extension::data_file, 4}, {0x74, 3, 4}, {0x78, 0x61626300, 4}}},
    {"unknown extension", {{0x70, 0x12345678, 4}, {0x74, 16, 4}}},
};

TEST_F(HostileTest, HeadersAreRefusedInQemusWords) {
  for (const Case& one : kCases) {
    SCOPED_TRACE(one.name);
    const auto file = broken(one.edits);
    EXPECT_EQ(open_error(file, false), qemus_error(*file));
  }
}

// What qemu-img's `info` does not meet, or does not survive.
TEST_F(HostileTest, HeadersThatOnlySomeUsesAllow) {
  namespace at = format::at;
  const auto error = [&](const std::vector<Edit>& edits, HeaderUse use) {
    const auto header = run(world_, read_header(*broken(edits), use));
    return header.ok() ? "" : header.error().desc;
  };
  const std::vector<Edit> corrupt = {{at::incompatible_features, 2, 8}};
  EXPECT_EQ(error(corrupt, HeaderUse::look), "");
  EXPECT_EQ(error(corrupt, HeaderUse::check), "");
  EXPECT_EQ(error(corrupt, HeaderUse::change),
            "qcow2: Image is corrupt; cannot be opened read/write");  // as qemu-io says
  EXPECT_EQ(error({{at::crypt_method, 2, 4}}, HeaderUse::look),
            "Missing CRYPTO header for crypt method 2");  // qemu-io; `info` crashes
  const std::vector<Edit> no_table = {{at::refcount_table_clusters, 0, 4}};
  EXPECT_EQ(error(no_table, HeaderUse::check), "");
  EXPECT_NE(error(no_table, HeaderUse::look), "");
  const std::vector<Edit> snapshots = {{at::nb_snapshots, 65537, 4}};
  EXPECT_EQ(error(snapshots, HeaderUse::check), "");
  EXPECT_NE(error(snapshots, HeaderUse::look), "");
}

TEST_F(HostileTest, SubclustersNeedClustersOf16KiB) {
  for (const int bits : {13, 14}) {
    must("qemu-img create -q -f qcow2 -o cluster_size=" + std::to_string(1 << bits) + " y 1M");
    auto file = std::make_shared<storage::MemoryFile>();
    file->write_now(0, testing::contents(directory_ / "y"));
    const std::byte bit{16};
    file->write_now(format::at::incompatible_features + 7, Bytes(&bit, 1));
    const auto header = run(world_, read_header(*file, HeaderUse::look));
    EXPECT_EQ(header.ok() ? "" : header.error().desc, qemus_error(*file));
    EXPECT_EQ(header.ok(), bits == 14);
  }
}

TEST_F(HostileTest, CutFilesReadAsZeroesBeyondTheirEnd) {
  for (const std::uint64_t length : {0, 3, 50, 104, 112, 600, 65536, 131072}) {
    SCOPED_TRACE(length);
    auto file = broken({});
    file->truncate_now(length);
    EXPECT_EQ(open_error(file, false), qemus_error(*file));
  }
}

// L1 at 0x30000; a first write would put the L2 table at 0x40000.
TEST_F(HostileTest, BrokenTablesFailTheRequestThatMeetsThem) {
  struct Broken {
    std::vector<Edit> edits;
    std::string text;
  };
  const std::vector<Broken> table = {
      {{{0x30000, 0x8000000000000200, 8}},
       "L2 table offset 0x200 unaligned (L1 index: 0x0): Input/output error"},
      {{{0x30000, 0x8000000000040000, 8}, {0x40000, 0x8000000000050200, 8}},
       "Cluster allocation offset 0x50200 unaligned (guest offset: 0x0): Input/output error"},
  };
  for (const Broken& one : table) {
    std::vector<std::byte> buffer(4096);
    for (int request = 0; request < 4; ++request) {
      const auto file = broken(one.edits);
      auto image = run(world_, Image::open(world_, file, true));
      ASSERT_TRUE(image.ok());
      const auto failed = request == 0   ? run(world_, (*image)->read({0}, buffer))
                          : request == 1 ? run(world_, (*image)->write({0}, buffer))
                          : request == 2 ? run(world_, (*image)->write_zeroes({0}, 65536, true))
                                         : run(world_, (*image)->discard({0}, 65536));
      EXPECT_EQ(failed.error().desc, one.text);
      EXPECT_TRUE((*image)->header().is_corrupt());
      EXPECT_EQ(run(world_, (*image)->read({0}, buffer)).error().number, ENOMEDIUM);
      EXPECT_TRUE(run(world_, (*image)->close()).ok());
      EXPECT_EQ(open_error(file, true), "qcow2: Image is corrupt; cannot be opened read/write");
    }
  }
}

// A refused write leaves the file that QEMU leaves: unchanged but for the corrupt bit.  (Where
// counts were wrong, they may have been raised before.)
TEST_F(HostileTest, NoWriteTouchesMetadata) {
  struct Overlap {
    std::vector<Edit> edits;
    std::uint64_t at, length;
    std::string name;
  };
  const Edit l1{0x30000, 0x8000000000040000, 8};
  const auto data_at = [&](std::uint64_t offset) -> std::vector<Edit> {
    return {l1, {0x40000, offset, 8}, {0x20008, 0x00010001, 4}};
  };
  const std::vector<Overlap> table = {
      {data_at(0x8000000000010000), 0, 4096, "refcount table"},
      {data_at(0x8000000000020000), 0, 4096, "refcount block"},
      {data_at(0x8000000000030000), 4096, 512, "active L1 table"},
      {data_at(0x8000000000040000), 512, 65024, "active L2 table"},
      {{l1, {0x20008, 0, 4}}, 0, 65536, "active L2 table"},  // the L2 table seems free
      {{{0x20002, 0, 6}}, 0, 65536, "refcount table"},       // so does all but the header
      {{{0x30000, 0x8000000000010000, 8}}, 0, 65536, "refcount table"},
  };
  for (const Overlap& one : table) {
    SCOPED_TRACE(one.name);
    const auto file = broken(one.edits);
    if (file->size() < 0x60000) file->truncate_now(0x60000);
    testing::save(*file, directory_ / "x");
    auto image = run(world_, Image::open(world_, file, true));
    ASSERT_TRUE(image.ok());
    const std::vector<std::byte> data(one.length, std::byte{1});
    auto written = run(world_, (*image)->write({one.at}, data));
    if (written.ok()) written = run(world_, (*image)->flush());
    ASSERT_FALSE(written.ok());
    EXPECT_EQ(written.error().desc, "Preventing invalid write on metadata (overlaps with " +
                                        one.name + "): Input/output error");
    EXPECT_TRUE(run(world_, (*image)->close()).ok());
    const testing::Ran ran = testing::run_command(
        "cd " + directory_.path() + " && qemu-io -f qcow2 -c 'write -P 1 " +
        std::to_string(one.at) + " " + std::to_string(one.length) + "' -c flush x");
    EXPECT_NE(ran.output.find("(overlaps with " + one.name + ")"), std::string::npos) << ran.output;
    if (one.at == 0 && one.length == 65536) continue;
    EXPECT_EQ(testing::difference(*file, directory_ / "x"), "");
  }
}

TEST_F(HostileTest, ReadOnlyDamageChangesNothing) {
  const auto file = broken({{0x30000, 0x8000000000000200, 8}});
  auto image = run(world_, Image::open(world_, std::make_shared<storage::ReadOnly>(file), false));
  ASSERT_TRUE(image.ok());
  std::vector<std::byte> buffer(512);
  EXPECT_EQ(run(world_, (*image)->read({0}, buffer)).error().number, EIO);
  EXPECT_EQ(run(world_, (*image)->read({0}, buffer)).error().number, EIO);
  EXPECT_EQ(open_error(file, true), "");
}

// What QEMU reads as zeroes.
TEST_F(HostileTest, StructuresBeyondTheEndAreRefusedUnlessLax) {
  struct Beyond {
    std::vector<Edit> edits;
    std::string text;
  };
  const std::vector<Beyond> table = {
      {{{format::at::l1_table_offset, 0x100000, 8}},
       "L1 table at offset 0x100000 lies beyond the end of the file"},
      {{{format::at::refcount_table_offset, 0x200000, 8}},
       "Refcount table at offset 0x200000 lies beyond the end of the file"},
      {{{0x30000, 0x8000000000100000, 8}},
       "L2 table at offset 0x100000 lies beyond the end of the file: Input/output error"},
      {{{0x30000, 0x8000000000040000, 8}, {0x40000, 0x8000000000100000, 8}},
       "Data cluster at offset 0x100000 lies beyond the end of the file: Input/output error"},
  };
  for (const Beyond& one : table) {
    const auto file = broken(one.edits);
    if (file->size() < 0x50000) file->truncate_now(0x50000);
    std::vector<std::byte> buffer(4096, std::byte{1});
    auto image = run(world_, Image::open(world_, file, OpenOptions{}));
    if (image.ok())
      EXPECT_EQ(run(world_, (*image)->read({0}, buffer)).error().desc, one.text);
    else
      EXPECT_EQ(image.error().desc, one.text);
    image = run(world_, Image::open(world_, file, OpenOptions{.lax = true}));
    ASSERT_TRUE(image.ok()) << one.text;
    EXPECT_TRUE(run(world_, (*image)->read({0}, buffer)).ok());
    EXPECT_TRUE(all_zero(buffer));
  }
}

TEST_F(HostileTest, ClustersThatSeemFreeButAreInUseAreNotHandedOut) {
  auto image = run(world_, Image::open(world_, broken({{0x20000, 0, 2}}), true));  // the header's
  ASSERT_TRUE(image.ok());
  const std::vector<std::byte> data(65536, std::byte{1});
  const auto written = run(world_, (*image)->write({0}, data));
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().number, EIO);
}

TEST_F(HostileTest, RandomDamageNeverDoesMoreThanFail) {
  Rng rng(99);
  for (int round = 0; round < 3000; ++round) {
    auto file = broken({{0x30000, 0x8000000000040000, 8},
                        {0x40000, 0x8000000000050000, 8},
                        {0x20008, 0x00010001, 4}});
    file->truncate_now(0x60000);
    for (std::uint64_t i = 0; i < 1 + rng.below(4); ++i) {
      const std::uint64_t base =
          std::array<std::uint64_t, 6>{0, 0, 0x10000, 0x20000, 0x30000, 0x40000}[rng.below(6)];
      const auto byte = static_cast<std::byte>(rng.below(256));
      file->write_now(base + rng.below(base == 0 ? 160 : 24), Bytes(&byte, 1));
    }
    auto image = run(world_, Image::open(world_, file, true));
    if (!image) continue;
    if ((*image)->size() > 1_GiB || (*image)->size() < 512) continue;
    std::vector<std::byte> buffer(std::min<std::uint64_t>((*image)->size(), 200000));
    (void)run(world_, (*image)->read({0}, buffer));
    (void)run(world_, (*image)->write({0}, buffer));
    (void)run(world_, (*image)->write_zeroes({0}, buffer.size(), true));
    (void)run(world_, (*image)->discard({0}, buffer.size()));
    (void)run(world_, (*image)->status({0}, (*image)->size()));
    (void)run(world_, (*image)->close());
  }
}

}  // namespace
}  // namespace sim::qcow2
