// What is found in files, and which class it is.  The images are written here byte by byte, as the
// qcow2 specification (docs/interop/qcow2.txt in QEMU) lays them out; qemu-img agrees.

#include "conformance/check/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "conformance/inspect/directory_for_test.h"

namespace conformance::check {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Matcher;

constexpr std::uint64_t kCluster = 4096;
constexpr std::uint64_t kSize = 16 * kCluster;

// Files in memory, kept by name in the directory /d.
class FakeFiles final : public Files {
 public:
  std::map<std::string, std::vector<std::byte>> contents;

  std::string directory() const override { return "/d"; }
  std::optional<std::uint64_t> size(const std::string& path) const override {
    const auto found = contents.find(path.substr(3));
    if (found == contents.end()) return std::nullopt;
    return found->second.size();
  }
  sim::Result<> read(const std::string& path, std::uint64_t offset,
                     sim::MutableBytes into) const override {
    const auto found = contents.find(path.substr(3));
    if (found == contents.end()) return sim::os_error(ENOENT);
    for (std::size_t i = 0; i < into.size(); ++i)
      into[i] = offset + i < found->second.size() ? found->second[offset + i] : std::byte{0};
    return sim::ok();
  }
  sim::Result<> create(const std::string&, std::uint64_t) override { return sim::os_error(EROFS); }
  sim::Result<> write(const std::string&, std::uint64_t, sim::Bytes) override {
    return sim::os_error(EROFS);
  }
  sim::Result<> remove(const std::string&) override { return sim::os_error(EROFS); }
  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const auto& [name, bytes] : contents) names.push_back(name);
    return names;
  }
};

void put(std::vector<std::byte>& bytes, std::size_t at, std::uint64_t value, unsigned width) {
  if (bytes.size() < at + width) bytes.resize(at + width);
  for (unsigned i = 0; i < width; ++i)
    bytes[at + i] = static_cast<std::byte>(value >> (8 * (width - 1 - i)));
}

// A qcow2 image of version 3 with clusters of 4 KiB: header, refcount table, refcount block, L1
// table, L2 table, data.
class Qcow2 {
 public:
  explicit Qcow2(std::uint64_t size = kSize, const std::string& backing = {},
                 const std::string& backing_format = {})
      : bytes_(5 * kCluster) {
    put(bytes_, 0, 0x514649fb, 4);
    put(bytes_, 4, 3, 4);
    put(bytes_, 20, 12, 4);  // cluster_bits
    put(bytes_, 24, size, 8);
    put(bytes_, 36, 1, 4);             // l1_size
    put(bytes_, 40, 3 * kCluster, 8);  // l1_table_offset
    put(bytes_, 48, 1 * kCluster, 8);  // refcount_table_offset
    put(bytes_, 56, 1, 4);             // refcount_table_clusters
    put(bytes_, 96, 4, 4);             // refcount_order
    put(bytes_, 100, 104, 4);          // header_length
    std::size_t at = 104;
    if (!backing_format.empty()) {
      put(bytes_, at, 0xe2792aca, 4);
      put(bytes_, at + 4, backing_format.size(), 4);
      text(at + 8, backing_format);
      at += 8 + (backing_format.size() + 7) / 8 * 8;
    }
    at += 8;  // the extension that ends them
    if (!backing.empty()) {
      put(bytes_, 8, at, 8);
      put(bytes_, 16, backing.size(), 4);
      text(at, backing);
    }
    put(bytes_, 1 * kCluster, 2 * kCluster, 8);
    put(bytes_, 3 * kCluster, kCopied | (4 * kCluster), 8);
    for (std::uint64_t i = 0; i < 5; ++i) refcount(i, 1);
  }

  Qcow2& data(std::uint64_t guest_cluster, std::uint8_t byte) {
    const std::uint64_t at = bytes_.size();
    bytes_.resize(at + kCluster, std::byte{byte});
    put(bytes_, 4 * kCluster + 8 * guest_cluster, kCopied | at, 8);
    refcount(at / kCluster, 1);
    return *this;
  }
  Qcow2& zero(std::uint64_t guest_cluster) {
    put(bytes_, 4 * kCluster + 8 * guest_cluster, 1, 8);
    return *this;
  }
  // One byte of the data cluster that was added last.
  Qcow2& byte(std::uint64_t offset, std::uint8_t value) {
    bytes_[bytes_.size() - kCluster + offset] = std::byte{value};
    return *this;
  }
  // A cluster that nothing refers to.
  Qcow2& leak() {
    bytes_.resize(bytes_.size() + kCluster);
    refcount(bytes_.size() / kCluster - 1, 1);
    return *this;
  }
  Qcow2& refcount(std::uint64_t cluster, std::uint64_t count) {
    put(bytes_, 2 * kCluster + 2 * cluster, count, 2);
    return *this;
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  static constexpr std::uint64_t kCopied = std::uint64_t{1} << 63;
  void text(std::size_t at, const std::string& text) {
    for (std::size_t i = 0; i < text.size(); ++i) bytes_[at + i] = static_cast<std::byte>(text[i]);
  }
  std::vector<std::byte> bytes_;
};

model::FileExpectation expectation(const std::string& name, model::Format format,
                                   std::uint64_t size = kSize) {
  return {.name = name,
          .unchanged = false,
          .layer = model::Layer(format, size, kCluster),
          .cold_chain = {name}};
}
model::FileExpectation over_base(const std::string& name = "copy") {
  model::FileExpectation expected = expectation(name, model::Format::qcow2);
  expected.backing_string = "/d/base";
  expected.backing_format = "raw";
  expected.cold_chain = {name, "base"};
  return expected;
}

Matcher<Divergence> divergence(DivergenceClass divergence_class, const std::string& expected,
                               const std::string& actual, const std::string& place) {
  return AllOf(Field("class", &Divergence::divergence_class, divergence_class),
               Field("expected", &Divergence::expected, HasSubstr(expected)),
               Field("actual", &Divergence::actual, HasSubstr(actual)),
               Field("place", &Divergence::place, place));
}

class CompareFiles : public ::testing::Test {
 protected:
  std::vector<Divergence> compare() { return compare_files(files_, expected_, before_); }
  void put_raw(const std::string& name, std::uint64_t size, std::uint8_t byte) {
    files_.contents[name] = std::vector<std::byte>(size, std::byte{byte});
  }
  void put_base() {
    put_raw("base", kSize, 1);
    expected_.push_back(expectation("base", model::Format::raw));
    expected_.back().layer.assign(0, kSize, model::Cell::Data(1));
  }

  FakeFiles files_;
  std::vector<model::FileExpectation> expected_;
  Before before_;
};

TEST_F(CompareFiles, QemuImgAgreesThatTheImagesHereAreImages) {
  inspect::TestDirectory directory;
  ASSERT_TRUE(directory.create(directory / "base", kSize));
  const auto check = [&](const Qcow2& image) {
    std::ofstream file(directory / "x", std::ios::binary);
    file.write(reinterpret_cast<const char*>(image.bytes().data()),
               static_cast<std::streamsize>(image.bytes().size()));
    ASSERT_TRUE(file.good());
  };
  const std::string command = "qemu-img check -q -f qcow2 " + (directory / "x");
  check(Qcow2(kSize, directory / "base", "raw").data(0, 3).zero(2).data(7, 0));
  EXPECT_EQ(inspect::run(command).status, 0);
  check(Qcow2().data(0, 3).leak());
  EXPECT_EQ(inspect::run(command).status, 3) << "leaks";
  check(Qcow2().data(0, 3).refcount(5, 0));
  EXPECT_EQ(inspect::run(command).status, 2) << "corruptions";
}

TEST_F(CompareFiles, NothingIsFoundWhereAllIsAsItMustBe) {
  put_base();
  files_.contents["copy"] = Qcow2(kSize, "/d/base", "raw").data(0, 3).zero(2).data(3, 0).bytes();
  expected_.push_back(over_base());
  expected_.back().layer.assign(0, kCluster, model::Cell::Data(3));
  expected_.back().layer.assign(2 * kCluster, kCluster, model::Cell::Zero());
  expected_.back().layer.assign(3 * kCluster, kCluster, model::Cell::AnyZero());
  EXPECT_THAT(compare(), IsEmpty());
  before_ = remember(files_);
  for (model::FileExpectation& file : expected_) file.unchanged = true;
  EXPECT_THAT(compare(), IsEmpty());
}

TEST_F(CompareFiles, AFileThatIsMissing) {
  expected_.push_back(expectation("copy", model::Format::raw));
  EXPECT_THAT(compare(),
              ElementsAre(divergence(DivergenceClass::data, "present", "missing", "copy")));
}

TEST_F(CompareFiles, AFileThatNobodyExpects) {
  put_raw("copy.tmp", 1, 0);
  EXPECT_THAT(compare(),
              ElementsAre(divergence(DivergenceClass::data, "no such file", "a file", "copy.tmp")));
}

TEST_F(CompareFiles, NothingIsSaidOfAFileInUse) {
  put_raw("copy", 1, 0);
  expected_.push_back(expectation("copy", model::Format::qcow2));
  EXPECT_THAT(compare(), ElementsAre(divergence(DivergenceClass::data, "qcow2", "", "copy")));
  expected_.back().in_use = true;
  EXPECT_THAT(compare(), IsEmpty());
}

TEST_F(CompareFiles, AFileThatMayNotChange) {
  put_base();
  before_ = remember(files_);
  expected_.back().unchanged = true;
  files_.contents["base"][5000] = std::byte{7};
  EXPECT_THAT(
      compare(),
      ElementsAre(divergence(DivergenceClass::data, "digest ", "digest ", "base"),
                  divergence(DivergenceClass::data, "data 0x01", "data 0x07", "base, byte 5000")));
  // A change that leaves the meaning as it is counts as well: two bytes beyond the header.
  files_.contents["base"] = Qcow2().bytes();
  expected_.back() = expectation("base", model::Format::qcow2);
  expected_.back().unchanged = true;
  before_ = remember(files_);
  files_.contents["base"][4000] = std::byte{1};
  EXPECT_THAT(compare(),
              ElementsAre(divergence(DivergenceClass::data, "digest ", "digest ", "base")));
}

TEST_F(CompareFiles, SomethingThatIsNoImage) {
  files_.contents["copy"] = Qcow2().bytes();
  files_.contents["copy"][0] = std::byte{'X'};
  expected_.push_back(expectation("copy", model::Format::qcow2));
  EXPECT_THAT(compare(),
              ElementsAre(divergence(DivergenceClass::data, "qcow2", "/d/copy: ", "copy")));
}

TEST_F(CompareFiles, AnotherVirtualSize) {
  files_.contents["copy"] = Qcow2(kSize / 2).data(0, 9).bytes();
  expected_.push_back(expectation("copy", model::Format::qcow2));
  EXPECT_THAT(compare(), ElementsAre(divergence(DivergenceClass::data, "65536", "32768", "copy")))
      << "its content is not compared";
}

TEST_F(CompareFiles, AnotherBackingFile) {
  put_base();
  put_raw("other", kSize, 1);
  expected_.push_back(expectation("other", model::Format::raw));
  expected_.back().layer.assign(0, kSize, model::Cell::Data(1));
  files_.contents["copy"] = Qcow2(kSize, "/d/other", "raw").bytes();
  expected_.push_back(over_base());
  EXPECT_THAT(
      compare(),
      ElementsAre(divergence(DivergenceClass::chain, "'/d/base'", "'/d/other'", "copy"),
                  divergence(DivergenceClass::chain, "copy -> base", "copy -> other", "copy")));
}

TEST_F(CompareFiles, NoBackingFileAtAll) {
  put_base();
  files_.contents["copy"] = Qcow2().bytes();
  expected_.push_back(over_base());
  EXPECT_THAT(compare(),
              ElementsAre(divergence(DivergenceClass::chain, "'/d/base'", "none", "copy"),
                          divergence(DivergenceClass::chain, "'raw'", "none", "copy"),
                          divergence(DivergenceClass::chain, "copy -> base", "copy", "copy")));
}

TEST_F(CompareFiles, AnotherBackingFormat) {
  put_base();
  files_.contents["copy"] = Qcow2(kSize, "/d/base").bytes();  // "raw" would be probed
  expected_.push_back(over_base());
  EXPECT_THAT(compare(), ElementsAre(divergence(DivergenceClass::chain, "'raw'", "none", "copy")));
}

TEST_F(CompareFiles, ABackingFileThatIsNotThere) {
  files_.contents["copy"] = Qcow2(kSize, "/d/base", "raw").bytes();
  expected_.push_back(over_base());
  EXPECT_THAT(compare(),
              ElementsAre(divergence(DivergenceClass::chain, "copy -> base", "/d/base", "copy")));
}

TEST_F(CompareFiles, CorruptionIsDataAndALeakIsAllocation) {
  files_.contents["copy"] = Qcow2().data(0, 3).refcount(5, 0).bytes();
  expected_.push_back(expectation("copy", model::Format::qcow2));
  expected_.back().layer.assign(0, kCluster, model::Cell::Data(3));
  EXPECT_THAT(compare(), ElementsAre(divergence(DivergenceClass::data, "0 corruptions",
                                                " corruptions: ", "copy")));
  files_.contents["copy"] = Qcow2().data(0, 3).leak().bytes();
  EXPECT_THAT(compare(),
              ElementsAre(divergence(DivergenceClass::allocation, "0 leaks", "1 leaks: ", "copy")));
}

TEST_F(CompareFiles, TheFirstByteThatDiffersIsTold) {
  put_base();
  files_.contents["copy"] =
      Qcow2(kSize, "/d/base", "raw").data(0, 3).data(2, 3).byte(1234, 9).byte(1300, 8).bytes();
  expected_.push_back(over_base());
  expected_.back().layer.assign(0, kCluster, model::Cell::Data(3));
  expected_.back().layer.assign(2 * kCluster, kCluster, model::Cell::Data(3));
  EXPECT_THAT(compare(), ElementsAre(divergence(DivergenceClass::data, "data 0x03", "data 0x09",
                                                "copy, byte 9426")));
}

TEST_F(CompareFiles, BytesThatDifferAllTheTimeAreComparedOneByOne) {
  Qcow2 image = Qcow2().data(1, 0);
  for (std::uint64_t i = 0; i < kCluster; ++i) image.byte(i, static_cast<std::uint8_t>(1 + i % 3));
  files_.contents["copy"] = image.bytes();
  expected_.push_back(expectation("copy", model::Format::qcow2));
  model::Cell any = model::Cell::Data(1);
  any.data |= model::value(2) | model::value(3);
  expected_.back().layer.assign(kCluster, kCluster, any);
  EXPECT_THAT(compare(), IsEmpty());
  files_.contents["copy"] = image.byte(700, 4).bytes();
  EXPECT_THAT(compare(), ElementsAre(divergence(DivergenceClass::data, "data 0x01", "data 0x04",
                                                "copy, byte 4796")));
}

struct Piece {
  const char* name;
  model::Cell expected;
  void (*make)(Qcow2& image);  // its cluster 5
  DivergenceClass over_base;   // none: allowed
  DivergenceClass alone;
};

void nothing(Qcow2&) {}
void zeroes(Qcow2& image) { image.zero(5); }
void data_of_zeroes(Qcow2& image) { image.data(5, 0); }
void data_of_4(Qcow2& image) { image.data(5, 4); }

class CompareCluster : public ::testing::TestWithParam<Piece> {};

// Whether what is there reads as what was due decides between the two classes.
TEST_P(CompareCluster, IsDataWhereItReadsWrongAndAllocationWhereItReadsRight) {
  const Piece& piece = GetParam();
  for (const bool alone : {false, true}) {
    FakeFiles files;
    files.contents["base"] = std::vector<std::byte>(kSize, std::byte{1});
    Qcow2 image = alone ? Qcow2() : Qcow2(kSize, "/d/base", "raw");
    piece.make(image);
    files.contents["copy"] = image.bytes();
    model::FileExpectation copy = alone ? expectation("copy", model::Format::qcow2) : over_base();
    copy.layer.assign(5 * kCluster, kCluster, piece.expected);
    model::FileExpectation base = expectation("base", model::Format::raw);
    base.layer.assign(0, kSize, model::Cell::Data(1));
    const DivergenceClass wanted = alone ? piece.alone : piece.over_base;
    const std::vector<Divergence> found = compare_files(files, {base, copy}, {});
    if (wanted == DivergenceClass::none)
      EXPECT_THAT(found, IsEmpty()) << (alone ? "alone" : "over base");
    else
      EXPECT_THAT(found, ElementsAre(divergence(wanted, "", "", "copy, byte 20480")))
          << (alone ? "alone" : "over base");
  }
}

using enum DivergenceClass;
INSTANTIATE_TEST_SUITE_P(
    All, CompareCluster,
    ::testing::Values(
        Piece{"AbsentForAbsent", model::Cell::Absent(), nothing, none, none},
        Piece{"ZeroForAbsent", model::Cell::Absent(), zeroes, data, allocation},
        Piece{"DataOfZeroesForAbsent", model::Cell::Absent(), data_of_zeroes, data, allocation},
        Piece{"DataForAbsent", model::Cell::Absent(), data_of_4, data, data},
        Piece{"AbsentForZero", model::Cell::Zero(), nothing, data, allocation},
        Piece{"ZeroForZero", model::Cell::Zero(), zeroes, none, none},
        Piece{"DataOfZeroesForZero", model::Cell::Zero(), data_of_zeroes, allocation, allocation},
        Piece{"DataForZero", model::Cell::Zero(), data_of_4, data, data},
        Piece{"AbsentForDataOfZeroes", model::Cell::Data(0), nothing, data, allocation},
        Piece{"ZeroForDataOfZeroes", model::Cell::Data(0), zeroes, allocation, allocation},
        Piece{"DataOfZeroesForDataOfZeroes", model::Cell::Data(0), data_of_zeroes, none, none},
        Piece{"AbsentForData", model::Cell::Data(4), nothing, data, data},
        Piece{"ZeroForData", model::Cell::Data(4), zeroes, data, data},
        Piece{"DataOfZeroesForData", model::Cell::Data(4), data_of_zeroes, data, data},
        Piece{"DataForData", model::Cell::Data(4), data_of_4, none, none}),
    [](const auto& instance) { return instance.param.name; });

// --- views ---------------------------------------------------------------------------------------

inspect::View two_layers() {
  return {.runs = {{.offset = 0, .length = 100, .pattern = 1, .layer = 1},
                   {.offset = 100, .length = 4, .pattern = {}, .layer = 0, .mixed_at = 2},
                   {.offset = 104, .length = 96, .pattern = 0, .layer = 0}},
          .layers = {"/d/top", "/d/base"},
          .formats = {"qcow2", "raw"},
          .mixed = {std::byte{9}, std::byte{9}, std::byte{2}, std::byte{3}, std::byte{2},
                    std::byte{5}}};
}

TEST(CompareViews, TheFirstByteThatDiffersIsToldWithItsLayer) {
  const model::View right = {{0, 100, model::value(1)},
                             {100, 3, model::value(2) | model::value(3)},
                             {103, 1, model::value(5)},
                             {104, 96, model::value(0)}};
  EXPECT_THAT(compare_views(two_layers(), right, "disk vda"), IsEmpty());

  model::View wrong = right;
  wrong[0].values = model::value(4);
  EXPECT_THAT(
      compare_views(two_layers(), wrong, "disk vda"),
      ElementsAre(divergence(data, "0x04", "0x01", "disk vda, byte 0, from layer /d/base")));
  wrong = right;
  wrong[1].values = model::value(2);
  EXPECT_THAT(
      compare_views(two_layers(), wrong, "disk vda"),
      ElementsAre(divergence(data, "0x02", "0x03", "disk vda, byte 101, from layer /d/top")));
  wrong = {
      {0, 150,
       model::value(0) | model::value(1) | model::value(2) | model::value(3) | model::value(5)},
      {150, 50, model::value(7)}};
  EXPECT_THAT(
      compare_views(two_layers(), wrong, "disk vda"),
      ElementsAre(divergence(data, "0x07", "0x00", "disk vda, byte 150, from layer /d/top")));
}

TEST(CompareViews, AnotherSize) {
  EXPECT_THAT(compare_views(two_layers(), {{0, 100, model::value(1)}}, "disk vda"),
              ElementsAre(divergence(data, "100", "200", "disk vda")));
  EXPECT_THAT(compare_views({}, {{0, 100, model::value(1)}}, "disk vda"),
              ElementsAre(divergence(data, "100", "0", "disk vda")));
  EXPECT_THAT(compare_views({}, {}, "disk vda"), IsEmpty());
}

}  // namespace
}  // namespace conformance::check
