// The inspector on files made by hand from the format's description, good and hostile, in memory.

#include <algorithm>
#include <chrono>
#include <map>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include "conformance/inspect/inspector.h"
#include "sim/base/bytes.h"

namespace conformance::inspect {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class MemoryFiles final : public Files {
 public:
  std::string directory() const override { return "/d"; }
  std::optional<std::uint64_t> size(const std::string& path) const override {
    const auto file = files.find(path);
    if (file == files.end()) return std::nullopt;
    return claimed_size != 0 ? claimed_size : file->second.size();
  }
  sim::Result<> read(const std::string& path, std::uint64_t offset,
                     sim::MutableBytes into) const override {
    const auto file = files.find(path);
    if (file == files.end()) return sim::os_error(ENOENT, path);
    bytes_read += into.size();
    const std::vector<std::byte>& bytes = file->second;
    const std::uint64_t have = offset < bytes.size() ? bytes.size() - offset : 0;
    const auto now = static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(have, into.size()));
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(have == 0 ? 0 : offset), now,
                into.begin());
    std::fill(into.begin() + now, into.end(), std::byte{0});
    return sim::ok();
  }
  sim::Result<> create(const std::string& path, std::uint64_t size) override {
    files[path].assign(size, std::byte{0});
    return sim::ok();
  }
  sim::Result<> write(const std::string& path, std::uint64_t offset, sim::Bytes from) override {
    std::vector<std::byte>& bytes = files[path];
    bytes.resize(std::max<std::size_t>(bytes.size(), offset + from.size()));
    std::copy(from.begin(), from.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
    return sim::ok();
  }
  sim::Result<> remove(const std::string& path) override {
    files.erase(path);
    return sim::ok();
  }
  std::vector<std::string> names() const override { return {}; }

  template <class T>
  void store(const std::string& path, std::uint64_t offset, T value) {
    std::vector<std::byte> bytes(sizeof(T));
    sim::store_be<T>(bytes, 0, value);
    ASSERT_TRUE(write(path, offset, bytes).ok());
  }

  std::map<std::string, std::vector<std::byte>> files;
  std::uint64_t claimed_size = 0;
  mutable std::uint64_t bytes_read = 0;
};

constexpr std::uint64_t kCluster = 65536;

// A version 3 image with 64 KiB clusters and an empty L2 table: header, refcount table, refcount
// block, L1, L2 (sim/qcow2/format.md).
void make(MemoryFiles& files, const std::string& name, std::uint64_t size,
          const std::string& backing = "", const std::string& format = "") {
  const std::string path = "/d/" + name;
  ASSERT_TRUE(files.create(path, 5 * kCluster).ok());
  files.store<std::uint32_t>(path, 0, 0x514649fb);
  files.store<std::uint32_t>(path, 4, 3);
  files.store<std::uint32_t>(path, 20, 16);
  files.store<std::uint64_t>(path, 24, size);
  files.store<std::uint32_t>(path, 36, 1);
  files.store<std::uint64_t>(path, 40, 3 * kCluster);
  files.store<std::uint64_t>(path, 48, 1 * kCluster);
  files.store<std::uint32_t>(path, 56, 1);
  files.store<std::uint32_t>(path, 96, 4);
  files.store<std::uint32_t>(path, 100, 104);
  std::uint64_t at = 104;
  if (!format.empty()) {
    files.store<std::uint32_t>(path, at, 0xe2792aca);
    files.store<std::uint32_t>(path, at + 4, static_cast<std::uint32_t>(format.size()));
    ASSERT_TRUE(files.write(path, at + 8, std::as_bytes(std::span(format))).ok());
    at += 8 + sim::align_up(format.size(), 8);
  }
  if (!backing.empty()) {
    files.store<std::uint64_t>(path, 8, at + 8);
    files.store<std::uint32_t>(path, 16, static_cast<std::uint32_t>(backing.size()));
    ASSERT_TRUE(files.write(path, at + 8, std::as_bytes(std::span(backing))).ok());
  }
  files.store<std::uint64_t>(path, kCluster, 2 * kCluster);
  for (unsigned i = 0; i < 5; ++i) files.store<std::uint16_t>(path, 2 * kCluster + 2 * i, 1);
  files.store<std::uint64_t>(path, 3 * kCluster, 0x8000000000040000);
}

// Gives a guest cluster of such an image the next host cluster, filled with one byte.
void fill(MemoryFiles& files, const std::string& name, unsigned guest, unsigned char byte) {
  const std::string path = "/d/" + name;
  const std::uint64_t host = files.files[path].size() / kCluster;
  const std::vector<std::byte> bytes(kCluster, std::byte{byte});
  ASSERT_TRUE(files.write(path, host * kCluster, bytes).ok());
  files.store<std::uint64_t>(path, 4 * kCluster + 8 * guest,
                             (std::uint64_t{1} << 63) | host * kCluster);
  files.store<std::uint16_t>(path, 2 * kCluster + 2 * host, 1);
}

std::string text(const View& view) {
  std::string text;
  for (const ViewRun& run : view.runs)
    text += fmt::format("{}:{}*{} ", run.layer, run.pattern ? std::to_string(*run.pattern) : "?",
                        run.length / 1024);
  return text;
}

std::string error_of(const MemoryFiles& files, const std::string& name,
                     const std::string& format = "qcow2") {
  Inspector inspector(files);
  const auto view = inspector.view("/d/" + name, format);
  return view.ok() ? "" : view.error().desc;
}

TEST(Inspect, ReportsAnImageMadeByHand) {
  MemoryFiles files;
  make(files, "base", 1 << 20);
  make(files, "top", 1 << 20, "base", "qcow2");
  fill(files, "top", 2, 7);
  files.store<std::uint64_t>("/d/top", 4 * kCluster + 8 * 3, 1);  // plain zero
  Inspector inspector(files);
  const auto layer = inspector.layer("/d/top", "");
  ASSERT_TRUE(layer.ok()) << layer.error().desc;
  const ImageReport& report = (*layer)->report;
  EXPECT_EQ(report.format, "qcow2");
  EXPECT_EQ(report.virtual_size, 1U << 20);
  EXPECT_EQ(report.cluster_size, kCluster);
  EXPECT_EQ(report.version, 3);
  EXPECT_EQ(report.backing_file, "base");
  EXPECT_EQ(report.backing_format, "qcow2");
  EXPECT_THAT(report.own, ElementsAre(inspect::Run{0, 131072, Kind::absent},
                                      inspect::Run{131072, 65536, Kind::data},
                                      inspect::Run{196608, 65536, Kind::zero},
                                      inspect::Run{262144, 786432, Kind::absent}));
  EXPECT_TRUE(report.check.clean()) << ::testing::PrintToString(report.check.details);
}

TEST(Inspect, AShortLayerEndsTheSearchWithZero) {  // docs/model.md, 1.2
  MemoryFiles files;
  make(files, "base", 1 << 20);
  for (unsigned i = 0; i < 16; ++i) fill(files, "base", i, 1);
  make(files, "mid", 512 << 10, "base", "qcow2");
  make(files, "top", 1 << 20, "/d/mid", "qcow2");
  fill(files, "top", 15, 3);
  Inspector inspector(files);
  const auto view = inspector.view("/d/top", "qcow2");
  ASSERT_TRUE(view.ok()) << view.error().desc;
  EXPECT_EQ(text(*view), "2:1*512 1:0*448 0:3*64 ");
  EXPECT_THAT(view->layers, ElementsAre("/d/top", "/d/mid", "/d/base"));
  EXPECT_EQ(byte_at(*view, 0).value, 1);
  EXPECT_EQ(byte_at(*view, 0).layer, 2U);
  EXPECT_EQ(byte_at(*view, 524288).layer, 1U);
}

TEST(Inspect, TellsTheFirstDifferingByte) {
  MemoryFiles files;
  ASSERT_TRUE(files.create("/d/a", 4096).ok());
  ASSERT_TRUE(files.create("/d/b", 4096).ok());
  for (unsigned i = 0; i < 512; ++i) {  // a sector with too many runs
    files.store<std::uint8_t>("/d/a", 512 + i, static_cast<std::uint8_t>(i));
    files.store<std::uint8_t>("/d/b", 512 + i, static_cast<std::uint8_t>(i));
  }
  Inspector same(files);
  const auto a = same.view("/d/a", "raw");
  ASSERT_TRUE(a.ok());
  EXPECT_EQ(a->mixed.size(), 512U);
  EXPECT_EQ(byte_at(*a, 512 + 300).value, 300 % 256);
  EXPECT_EQ(first_difference(*a, *same.view("/d/b", "raw")), std::nullopt);
  files.store<std::uint8_t>("/d/b", 812, 9);
  Inspector other(files);
  EXPECT_EQ(first_difference(*a, *other.view("/d/b", "raw")), 812U);
  ASSERT_TRUE(files.create("/d/b", 300).ok());
  Inspector shorter(files);
  EXPECT_EQ(first_difference(*a, *shorter.view("/d/b", "raw")), 300U);
}

TEST(Inspect, RawIsZeroWhereItReadsAsZero) {
  MemoryFiles files;
  ASSERT_TRUE(files.create("/d/raw", 1000).ok());
  files.store<std::uint8_t>("/d/raw", 999, 5);
  Inspector inspector(files);
  const auto layer = inspector.layer("/d/raw", "");
  ASSERT_TRUE(layer.ok());
  EXPECT_EQ((*layer)->report.format, "raw");
  EXPECT_EQ((*layer)->report.virtual_size, 1000U);
  EXPECT_THAT((*layer)->report.own,
              ElementsAre(inspect::Run{0, 999, Kind::zero}, inspect::Run{999, 1, Kind::data}));
}

TEST(Inspect, AnEmptyFileIsAnEmptyRawImage) {
  MemoryFiles files;
  ASSERT_TRUE(files.create("/d/empty", 0).ok());
  Inspector inspector(files);
  const auto view = inspector.view("/d/empty", "");
  ASSERT_TRUE(view.ok());
  EXPECT_TRUE(view->runs.empty());
}

TEST(Hostile, HeadersThatLie) {
  struct Case {
    std::uint64_t offset;
    std::uint32_t value;
    const char* reason;
  };
  for (const Case& one : std::initializer_list<Case>{
           {0, 0x514649fa, "bad magic number"},
           {4, 1, "version 1"},
           {4, 4, "version 4"},
           {20, 8, "clusters of 2^8"},
           {20, 22, "clusters of 2^22"},
           {20, 0xffffffff, "clusters of"},
           {24, 0x80000000, "virtual size is out of range"},
           {24, 0x7fffffff, "L1 table is too small"},
           {32, 1, "encrypted"},
           {32, 7, "encrypted"},
           {36, 0xffffffff, "L1 table is larger than 32 MiB"},
           {36, 0x400000, "L1 table lies beyond the end"},
           {36, 0, "L1 table is too small"},
           {40, 0x7fffffff, "L1 table lies beyond the end"},
           {44, 0x30001, "L1 table is not aligned"},
           {48, 0x7fffffff, "refcount table lies beyond the end"},
           {52, 0x10010, "refcount table is not aligned"},
           {56, 0, "no refcount table"},
           {56, 129, "refcount table is larger than 8 MiB"},
           {56, 0xffffffff, "refcount table is larger than 8 MiB"},
           {60, 0x10001, "more than 65536 internal snapshots"},
           {76, 4, "external data file"},
           {76, 16, "extended L2"},
           {76, 32, "unknown incompatible features 0x20"},
           {72, 0x80000000, "unknown incompatible features"},
           {96, 7, "wider than 64 bits"},
           {100, 96, "header length"},
           {100, 0xffffffff, "header length"},
           {8, 0xffffffff, "outside the first cluster"},
           {16, 1024, "longer than 1023"},
           {108, 0xffffffff, "extension runs past"},
       }) {
    MemoryFiles files;
    make(files, "image", 1 << 20, "base", "qcow2");
    files.store<std::uint32_t>("/d/image", one.offset, one.value);
    const std::string error = error_of(files, "image");
    EXPECT_THAT(error, HasSubstr(one.reason)) << one.offset << " " << one.value;
    EXPECT_THAT(error, ::testing::StartsWith("/d/image: "));
    EXPECT_EQ(error.find('\n'), std::string::npos);
  }
}

TEST(Hostile, TruncatedAnywhere) {
  MemoryFiles files;
  make(files, "image", 1 << 20);
  fill(files, "image", 0, 1);
  const std::vector<std::byte> whole = files.files["/d/image"];
  for (const std::size_t length :
       {1U, 4U, 71U, 72U, 103U, 104U, 512U, 65536U, 65543U, 131072U, 196608U, 196615U}) {
    files.files["/d/image"].assign(whole.begin(),
                                   whole.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_NE(error_of(files, "image"), "") << length;
  }
  for (const std::size_t length : {196616U, 262144U, 300000U, 327680U}) {
    files.files["/d/image"].assign(whole.begin(),
                                   whole.begin() + static_cast<std::ptrdiff_t>(length));
    Inspector inspector(files);
    const auto layer = inspector.layer("/d/image", "qcow2");
    if (layer.ok()) {
      EXPECT_FALSE((*layer)->report.check.clean()) << length;
    }
  }
}

TEST(Hostile, TablesThatPointEverywhere) {
  MemoryFiles files;
  make(files, "image", 1 << 20);
  // 4 Mi entries that all name the same L2 table: bounded by the file's size.
  const std::uint64_t entries = (32 << 20) / 8;
  files.store<std::uint32_t>("/d/image", 36, entries);
  for (std::uint64_t i = 0; i < entries; i += 64)
    files.store<std::uint64_t>("/d/image", 3 * kCluster + 8 * i, 0x8000000000040000);
  files.store<std::uint64_t>("/d/image", 3 * kCluster + 8 * (entries - 1), 0x8000000000040000);
  EXPECT_THAT(error_of(files, "image"), HasSubstr("L2 tables are larger than the file"));

  make(files, "image", 1 << 20);
  files.claimed_size = std::uint64_t{1} << 62;  // a sparse file
  EXPECT_THAT(error_of(files, "image"), HasSubstr("too many clusters"));
}

TEST(Hostile, Loops) {
  MemoryFiles files;
  make(files, "self", 1 << 20, "self", "qcow2");
  EXPECT_THAT(error_of(files, "self"), HasSubstr("loop"));
  make(files, "a", 1 << 20, "./b", "qcow2");
  make(files, "b", 1 << 20, "/d//x/../a", "qcow2");
  EXPECT_THAT(error_of(files, "a"), HasSubstr("loop"));
}

TEST(Hostile, ChainsThatAreTooDeep) {
  MemoryFiles files;
  make(files, "0", 4096);
  for (int i = 1; i <= 64; ++i)
    make(files, std::to_string(i), 4096, std::to_string(i - 1), "qcow2");
  EXPECT_EQ(error_of(files, "63"), "");
  EXPECT_THAT(error_of(files, "64"), HasSubstr("more than 64 layers"));
}

TEST(Hostile, NamesOutsideTheDirectory) {
  MemoryFiles files;
  for (const std::string name : {"/etc/passwd", "../x", "a/../../x", "/dd/x", "/d", "..", "/"}) {
    make(files, "image", 1 << 20, name, "raw");
    EXPECT_THAT(error_of(files, "image"), HasSubstr("outside the directory")) << name;
  }
  for (const std::string name : {"nbd://host/x", "json:{}", "missing"}) {
    make(files, "image", 1 << 20, name, "raw");
    EXPECT_THAT(error_of(files, "image"), HasSubstr("No such file or directory")) << name;
  }
  make(files, "image", 1 << 20, "image2", "vmdk");
  make(files, "image2", 1 << 20);
  EXPECT_THAT(error_of(files, "image"), HasSubstr("format 'vmdk'"));
}

// One scenario's inspection: a chain of three and a destination, 1 MiB each, three quarters full.
TEST(Inspect, ReadsNotMuchMoreThanWhatIsAllocated) {
  MemoryFiles files;
  make(files, "base", 1 << 20);
  for (unsigned i = 0; i < 12; ++i) fill(files, "base", i, 1);
  make(files, "snap1", 1 << 20, "base", "qcow2");
  for (unsigned i = 2; i < 4; ++i) fill(files, "snap1", i, 2);
  make(files, "snap2", 1 << 20, "snap1", "qcow2");
  for (unsigned i = 3; i < 5; ++i) fill(files, "snap2", i, 3);
  make(files, "copy", 1 << 20);
  for (unsigned i = 0; i < 12; ++i) fill(files, "copy", i, 4);
  const auto start = std::chrono::steady_clock::now();
  constexpr unsigned kRounds = 100;
  files.bytes_read = 0;
  for (unsigned i = 0; i < kRounds; ++i) {
    Inspector inspector(files);
    for (const std::string name : {"base", "snap1", "snap2", "copy"})
      ASSERT_TRUE(inspector.view("/d/" + name, "qcow2").ok());
  }
  const auto spent = std::chrono::steady_clock::now() - start;
  RecordProperty(
      "microseconds_each",
      static_cast<int>(std::chrono::duration_cast<std::chrono::microseconds>(spent).count() /
                       kRounds));
  // 28 data clusters, and for each of four images a refcount table, an L2 table, an entry or two.
  EXPECT_LT(files.bytes_read / kRounds, 28 * kCluster + 4 * (2 * kCluster + 8192));
}

// The same bytes, shown in other pieces, zeroes as holes.
class InPieces final : public Files {
 public:
  InPieces(const MemoryFiles& files, std::uint64_t piece) : files_(files), piece_(piece) {}
  std::string directory() const override { return files_.directory(); }
  std::optional<std::uint64_t> size(const std::string& path) const override {
    return files_.size(path);
  }
  sim::Result<> read(const std::string& path, std::uint64_t offset,
                     sim::MutableBytes into) const override {
    return files_.read(path, offset, into);
  }
  sim::Result<> visit(const std::string& path, std::uint64_t offset, std::uint64_t length,
                      const See& see) const override {
    for (const std::uint64_t end = offset + length; offset < end; offset += piece_) {
      std::vector<std::byte> bytes(std::min(piece_, end - offset));
      TRY_OK(read(path, offset, bytes));
      see(bytes.size(), sim::all_zero(bytes) ? sim::Bytes() : sim::Bytes(bytes));
    }
    return sim::ok();
  }
  sim::Result<> create(const std::string&, std::uint64_t) override { return sim::os_error(EROFS); }
  sim::Result<> write(const std::string&, std::uint64_t, sim::Bytes) override {
    return sim::os_error(EROFS);
  }
  sim::Result<> remove(const std::string&) override { return sim::os_error(EROFS); }
  std::vector<std::string> names() const override { return files_.names(); }

 private:
  const MemoryFiles& files_;
  std::uint64_t piece_;
};

TEST(Digest, IsOfTheBytesHoweverTheyLie) {
  MemoryFiles files;
  std::vector<std::byte>& bytes = files.files["/d/f"];
  bytes.resize(150'000);
  for (std::size_t i = 20'000; i < 90'000; ++i) bytes[i] = static_cast<std::byte>(i * i % 251);
  const std::vector<FileRange> hidden = {{.offset = 25'000, .length = 3}, {40'959, 5'000}};
  for (const std::uint64_t piece : {512, 1536, 4096, 12'288, 200'192}) {
    const InPieces other(files, piece);
    EXPECT_EQ(*digest(files, "/d/f"), *digest(other, "/d/f")) << piece;
    EXPECT_EQ(*digest(files, "/d/f", hidden), *digest(other, "/d/f", hidden)) << piece;
  }
}

TEST(Digest, TellsWhatDiffers) {
  MemoryFiles files;
  std::vector<std::byte>& bytes = files.files["/d/f"];
  bytes.resize(20'000);
  for (std::size_t i = 0; i < 8192; ++i) bytes[i] = i < 4096 ? std::byte{1} : std::byte{2};
  const std::vector<FileRange> hidden = {{.offset = 5000, .length = 10}};
  const std::uint64_t before = *digest(files, "/d/f");
  const std::uint64_t partly = *digest(files, "/d/f", hidden);
  for (const std::size_t at : {0UZ, 4095UZ, 4096UZ, 5005UZ, 12'288UZ, 19'999UZ}) {
    bytes[at] ^= std::byte{0x40};
    EXPECT_NE(*digest(files, "/d/f"), before) << at;
    EXPECT_EQ(*digest(files, "/d/f", hidden) == partly, at == 5005) << at;
    bytes[at] ^= std::byte{0x40};
  }
  std::swap_ranges(bytes.begin(), bytes.begin() + 4096, bytes.begin() + 4096);
  EXPECT_NE(*digest(files, "/d/f"), before) << "blocks changed places";
  std::swap_ranges(bytes.begin(), bytes.begin() + 4096, bytes.begin() + 4096);
  bytes.resize(20'001);
  EXPECT_NE(*digest(files, "/d/f"), before) << "longer by a zero";
}

}  // namespace
}  // namespace conformance::inspect
