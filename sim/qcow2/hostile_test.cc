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
    std::string text = ran.output.substr(kPrefix.size());
    if (text.ends_with('\n')) text.pop_back();
    return text;
  }
};

const std::vector<Case>& cases() {
  namespace at = format::at;
  static const std::vector<Case> kCases = {
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
      {"encryption extension", {{0x70, format::extension::encryption, 4}, {0x74, 16, 4}}},
      {"unknown extension", {{0x70, 0x12345678, 4}, {0x74, 16, 4}}},
  };
  return kCases;
}

TEST_F(HostileTest, HeadersAreRefusedInQemusWords) {
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.name);
    const auto file = broken(one.edits);
    EXPECT_EQ(open_error(file, false), qemus_error(*file));
  }
  const auto unsupported = [&](std::vector<Edit> edits, bool writable) {
    return open_error(broken(edits), writable);
  };
  namespace at = format::at;
  EXPECT_EQ(unsupported({{at::incompatible_features, 2, 8}}, true),
            "qcow2: Image is corrupt; cannot be opened read/write");  // as qemu-io says
  EXPECT_EQ(unsupported({{at::incompatible_features, 2, 8}}, false), "");
}

TEST_F(HostileTest, CutFilesReadAsZeroesBeyondTheirEnd) {
  for (const std::uint64_t length : {0, 3, 50, 104, 112, 600, 65536, 131072}) {
    SCOPED_TRACE(length);
    auto file = broken({});
    file->truncate_now(length);
    EXPECT_EQ(open_error(file, false), qemus_error(*file));
  }
}

// What real QEMU opens but this room does not do is refused by name.
TEST_F(HostileTest, MissingFeaturesAreNamed) {
  namespace at = format::at;
  const auto error = [&](std::vector<Edit> edits, bool writable) {
    return open_error(broken(edits), writable);
  };
  const std::string prefix = "Unsupported qcow2 feature(s): ";
  EXPECT_EQ(error({{at::incompatible_features, 4, 8}}, false), prefix + "external data file");
  EXPECT_EQ(error({{at::incompatible_features, 16, 8}}, false), prefix + "extended L2 entries");
  EXPECT_EQ(error({{at::nb_snapshots, 1, 4}}, false), prefix + "internal snapshots");
  EXPECT_EQ(error({{at::crypt_method, 2, 4}}, false), prefix + "encryption");
  EXPECT_EQ(error({{at::incompatible_features, 1, 8}}, true), prefix + "repair of a dirty image");
  EXPECT_EQ(error({{0x70, format::extension::bitmaps, 4}, {0x74, 24, 4}}, true),
            prefix + "bitmaps");
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
      {{{0x30000, 0x8000000000040000, 8}, {0x40000, 0x4000000000050000, 8}},
       "Unsupported qcow2 feature(s): compressed clusters: Operation not supported"},
  };
  for (const Broken& one : table) {
    auto image = run(world_, Image::open(world_, broken(one.edits), true));
    ASSERT_TRUE(image.ok());
    std::vector<std::byte> buffer(4096);
    EXPECT_EQ(run(world_, (*image)->read({0}, buffer)).error().desc, one.text);
    EXPECT_EQ(run(world_, (*image)->write({0}, buffer)).error().desc, one.text);
    EXPECT_EQ(run(world_, (*image)->write_zeroes({0}, 65536, true)).error().desc, one.text);
    EXPECT_EQ(run(world_, (*image)->discard({0}, 65536)).error().desc, one.text);
    EXPECT_TRUE(run(world_, (*image)->close()).ok());
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
