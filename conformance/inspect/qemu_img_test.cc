// The inspector against real qemu-img: what they say of images that real qemu-img and qemu-io made.

#include <algorithm>
#include <array>
#include <random>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include "conformance/inspect/directory_for_test.h"
#include "conformance/inspect/inspector.h"
#include "sim/base/json.h"

namespace conformance::inspect {
namespace {

using sim::Json;

// `qemu-img check`'s own numbers.
struct QemuCheck {
  std::uint64_t corruptions = 0;
  std::uint64_t leaks = 0;
};
QemuCheck qemu_check(const std::string& path) {
  const Ran ran = run("qemu-img check -f qcow2 --output=json " + path);
  const Json report = Json::parse(ran.output, nullptr, false);
  EXPECT_FALSE(report.is_discarded()) << ran.output;
  return {report.value("corruptions", std::uint64_t{0}), report.value("leaks", std::uint64_t{0})};
}

std::vector<std::byte> whole_file(const TestDirectory& dir, const std::string& path) {
  std::vector<std::byte> bytes(dir.size(path).value_or(0));
  EXPECT_TRUE(dir.read(path, 0, bytes).ok());
  return bytes;
}

// The view, byte for byte, against `qemu-img convert`.
void expect_view(const TestDirectory& dir, Inspector& inspector, const std::string& name,
                 const std::string& format) {
  const std::string flat = dir / "flat";
  ASSERT_EQ(
      run(fmt::format("qemu-img convert -f {} -O raw {} {}", format, dir / name, flat)).status, 0);
  const auto view = inspector.view(dir / name, format);
  ASSERT_TRUE(view.ok()) << view.error().desc;
  const std::vector<std::byte> expected = whole_file(dir, flat);
  std::uint64_t at = 0;
  for (const ViewRun& run : view->runs) {
    ASSERT_EQ(run.offset, at);
    for (; at < run.offset + run.length; ++at) {
      ASSERT_LT(at, expected.size());
      const std::uint8_t actual = run.pattern ? *run.pattern : byte_at(*view, at).value;
      ASSERT_EQ(actual, std::to_integer<std::uint8_t>(expected[at])) << name << " at " << at;
    }
  }
  EXPECT_EQ(at, expected.size());
}

// Own allocation against `qemu-img map`, which says per range at which depth it is allocated and
// whether it is known to be zero.  A range of depth 0 that is present is the image's own.
void expect_own(const TestDirectory& dir, Inspector& inspector, const std::string& name) {
  const Ran ran = run("qemu-img map --output=json -f qcow2 " + (dir / name));
  const Json map = Json::parse(ran.output, nullptr, false);
  ASSERT_TRUE(map.is_array()) << ran.output;
  const auto layer = inspector.layer(dir / name, "qcow2");
  ASSERT_TRUE(layer.ok()) << layer.error().desc;
  std::vector<Run> expected;
  for (const Json& range : map) {
    Run run{.offset = range["start"], .length = range["length"], .kind = Kind::absent};
    if (range["depth"] == 0 && range["present"] == true)
      run.kind = range["data"] == true ? Kind::data : Kind::zero;
    if (!expected.empty() && expected.back().kind == run.kind)
      expected.back().length += run.length;
    else
      expected.push_back(run);
  }
  EXPECT_TRUE((*layer)->report.own == expected) << name << ": " << ran.output;
}

struct Shape {
  unsigned seed;
  std::uint64_t cluster;
  int version;
  unsigned refcount_bits;
};

class Chains : public ::testing::TestWithParam<Shape> {};

// Random operations over a chain of three, with members of different sizes and formats.
TEST_P(Chains, AgreeWithQemuImg) {
  const Shape& shape = GetParam();
  TestDirectory dir;
  std::mt19937_64 random(shape.seed);
  const std::array<std::uint64_t, 3> sizes = {786432 + 512 * (random() % 512), 524288,
                                              1048576 - 512 * (random() % 64)};
  const std::array<std::string, 3> names = {"base", "mid", "top"};
  const bool raw_base = shape.seed % 3 == 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string format = i == 0 && raw_base ? "raw" : "qcow2";
    std::string options;
    if (format == "qcow2")
      options = fmt::format("-o cluster_size={},compat={},refcount_bits={}", shape.cluster,
                            shape.version == 2 ? "0.10" : "1.1", shape.refcount_bits);
    if (i != 0)
      options += fmt::format(" -b {} -F {}", i == 1 ? "base" : dir / names[i - 1],
                             i == 1 && raw_base ? "raw" : "qcow2");
    ASSERT_EQ(run(fmt::format("qemu-img create -q -f {} {} {} {}", format, options, dir / names[i],
                              sizes[i]))
                  .status,
              0);
    std::string commands;
    for (unsigned k = 0; k < 12; ++k) {
      const std::uint64_t offset = 512 * (random() % (sizes[i] / 512));
      const std::uint64_t most = std::min<std::uint64_t>(sizes[i] - offset, 1 + random() % 200000);
      const std::uint64_t length = (most + 511) / 512 * 512;
      const unsigned pattern = static_cast<unsigned>(random() % 4) * 63;
      const std::array<std::string, 4> verbs = {fmt::format("write -P {}", pattern), "write -z",
                                                "write -z -u", "discard"};
      const std::string& verb =
          verbs[format == "raw" ? 0 : std::min(random() % 6, std::uint64_t{3})];
      commands += fmt::format(" -c '{} {} {}'", verb, offset, std::min(length, sizes[i] - offset));
    }
    ASSERT_EQ(
        run(fmt::format("qemu-io -f {} -d unmap{} {}", format, commands, dir / names[i])).status,
        0);
  }
  Inspector inspector(dir);
  for (const std::string& name : {"mid", "top"}) {
    expect_own(dir, inspector, name);
    expect_view(dir, inspector, name, "qcow2");
    const auto layer = inspector.layer(dir / name, "qcow2");
    ASSERT_TRUE(layer.ok()) << layer.error().desc;
    EXPECT_TRUE((*layer)->report.check.clean()) << (*layer)->report.check.details.front();
    EXPECT_EQ(qemu_check(dir / name).corruptions, 0U);
    EXPECT_EQ((*layer)->report.cluster_size, shape.cluster);
    EXPECT_EQ((*layer)->report.version, shape.version);
  }
  expect_view(dir, inspector, "base", raw_base ? "raw" : "qcow2");
  const auto chain = inspector.chain(dir / "top", "");
  ASSERT_TRUE(chain.ok());
  EXPECT_THAT(*chain, ::testing::ElementsAre(dir / "top", dir / "mid", dir / "base"));
}

INSTANTIATE_TEST_SUITE_P(
    Seeds, Chains,
    ::testing::Values(Shape{1, 512, 3, 16}, Shape{2, 4096, 3, 16}, Shape{3, 65536, 3, 16},
                      Shape{4, 2097152, 3, 16}, Shape{5, 65536, 2, 16}, Shape{6, 4096, 2, 16},
                      Shape{7, 65536, 3, 1}, Shape{8, 1024, 3, 2}, Shape{9, 4096, 3, 4},
                      Shape{10, 512, 3, 8}, Shape{11, 8192, 3, 32}, Shape{12, 65536, 3, 64},
                      Shape{13, 131072, 3, 16}, Shape{14, 512, 2, 16}, Shape{15, 16384, 3, 1}),
    [](const auto& info) {
      return fmt::format("seed{}_cluster{}_v{}_bits{}", info.param.seed, info.param.cluster,
                         info.param.version, info.param.refcount_bits);
    });

// 1 MiB, 64 KiB clusters: L2 at 4, data at 5 to 8 (measured on 7.2 with qemu-io).
class Damaged : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(run("qemu-img create -q -f qcow2 " + path() + " 1M").status, 0);
    ASSERT_EQ(run("qemu-io -f qcow2 -c 'write -P 1 0 256k' " + path()).status, 0);
  }
  std::string path() const { return dir_ / "image"; }
  template <class T>
  T load(std::uint64_t offset) const {
    std::array<std::byte, sizeof(T)> bytes{};
    EXPECT_TRUE(dir_.read(path(), offset, bytes).ok());
    return sim::load_be<T>(bytes, 0);
  }
  template <class T>
  void store(std::uint64_t offset, T value) {
    std::array<std::byte, sizeof(T)> bytes{};
    sim::store_be<T>(bytes, 0, value);
    ASSERT_TRUE(dir_.write(path(), offset, bytes).ok());
  }
  void expect_as_qemu(std::uint64_t corruptions, std::uint64_t leaks) {
    const QemuCheck theirs = qemu_check(path());
    Inspector inspector(dir_);
    const auto layer = inspector.layer(path(), "qcow2");
    ASSERT_TRUE(layer.ok()) << layer.error().desc;
    const CheckResult& ours = (*layer)->report.check;
    EXPECT_EQ(ours.corruptions, theirs.corruptions) << ::testing::PrintToString(ours.details);
    EXPECT_EQ(ours.leaks, theirs.leaks) << ::testing::PrintToString(ours.details);
    EXPECT_EQ(theirs.corruptions, corruptions);
    EXPECT_EQ(theirs.leaks, leaks);
    EXPECT_EQ(ours.details.size(), corruptions + leaks);
  }

  static constexpr std::uint64_t kRefcountTable = 0x10000, kRefcounts = 0x20000, kL1 = 0x30000,
                                 kL2 = 0x40000;
  TestDirectory dir_;
};

TEST_F(Damaged, Intact) { expect_as_qemu(0, 0); }
TEST_F(Damaged, RefcountTooHigh) {  // a leak, and COPIED no longer fits
  store<std::uint16_t>(kRefcounts + 2 * 5, 2);
  expect_as_qemu(1, 1);
}
TEST_F(Damaged, RefcountZero) {
  store<std::uint16_t>(kRefcounts + 2 * 5, 0);
  expect_as_qemu(2, 0);
}
TEST_F(Damaged, RefcountOfMetadataZero) {
  store<std::uint16_t>(kRefcounts + 2 * 3, 0);
  expect_as_qemu(1, 0);
}
TEST_F(Damaged, CopiedMissingInL2) {
  store<std::uint64_t>(kL2, load<std::uint64_t>(kL2) & ~(std::uint64_t{1} << 63));
  expect_as_qemu(1, 0);
}
TEST_F(Damaged, CopiedMissingInL1) {
  store<std::uint64_t>(kL1, load<std::uint64_t>(kL1) & ~(std::uint64_t{1} << 63));
  expect_as_qemu(1, 0);
}
TEST_F(Damaged, Leak) {  // an L2 entry forgotten
  store<std::uint64_t>(kL2 + 8, 0);
  expect_as_qemu(0, 1);
}
TEST_F(Damaged, EntryBeyondEnd) {
  store<std::uint64_t>(kL2 + 8, 0x8000000001000000);
  expect_as_qemu(2, 1);
}
TEST_F(Damaged, TwoEntriesShareOneCluster) {
  store<std::uint64_t>(kL2 + 8, load<std::uint64_t>(kL2));
  expect_as_qemu(1, 1);
}
TEST_F(Damaged, DataOverTheL1Table) {
  store<std::uint64_t>(kL2 + 8, 0x8000000000030000);
  expect_as_qemu(1, 1);
}
TEST_F(Damaged, L2BeyondEnd) {
  store<std::uint64_t>(kL1, 0x8000000001000000);
  const QemuCheck theirs = qemu_check(path());
  Inspector inspector(dir_);
  const auto layer = inspector.layer(path(), "qcow2");
  ASSERT_TRUE(layer.ok());
  EXPECT_EQ((*layer)->report.check.corruptions, theirs.corruptions);
  EXPECT_EQ((*layer)->report.check.leaks, theirs.leaks);
}
TEST_F(Damaged, RefcountBlockMissing) {
  store<std::uint64_t>(kRefcountTable, 0);
  const QemuCheck theirs = qemu_check(path());
  Inspector inspector(dir_);
  const auto layer = inspector.layer(path(), "qcow2");
  ASSERT_TRUE(layer.ok());
  EXPECT_EQ((*layer)->report.check.corruptions, theirs.corruptions);
  EXPECT_EQ((*layer)->report.check.leaks, theirs.leaks);
  EXPECT_GT(theirs.corruptions, 0U);
}
TEST_F(Damaged, RefcountBlockReferencedTwice) {
  store<std::uint64_t>(kRefcountTable + 8, 0x20000);
  const QemuCheck theirs = qemu_check(path());
  Inspector inspector(dir_);
  const auto layer = inspector.layer(path(), "qcow2");
  ASSERT_TRUE(layer.ok());
  EXPECT_EQ((*layer)->report.check.corruptions, theirs.corruptions);
  EXPECT_EQ((*layer)->report.check.leaks, theirs.leaks);
}
TEST_F(Damaged, ReservedBits) {
  store<std::uint64_t>(kL2 + 8, load<std::uint64_t>(kL2 + 8) | 4);
  const QemuCheck theirs = qemu_check(path());
  Inspector inspector(dir_);
  const auto layer = inspector.layer(path(), "qcow2");
  ASSERT_TRUE(layer.ok());
  EXPECT_EQ((*layer)->report.check.corruptions, theirs.corruptions);
}

// Random single-word damage to the tables: the same verdict as qemu-img wherever it has one.
TEST_F(Damaged, RandomBitsOfTables) {
  const std::vector<std::byte> intact = whole_file(dir_, path());
  std::mt19937_64 random(42);
  const std::array<std::uint64_t, 4> places = {kRefcounts, kL1, kL2, kL2};
  for (int round = 0; round < 60; ++round) {
    ASSERT_TRUE(dir_.create(path(), intact.size()).ok());
    ASSERT_TRUE(dir_.write(path(), 0, intact).ok());
    const std::uint64_t place = places[random() % places.size()];
    const std::uint64_t words = place == kL1 ? 1 : place == kRefcounts ? 3 : 16;
    const std::uint64_t at = place + 8 * (random() % words);
    // Bits 57 to 62 are left alone: compressed clusters are refused, not checked.
    const unsigned bit = place == kRefcounts ? random() % 64 : random() % 56;
    store<std::uint64_t>(at, load<std::uint64_t>(at) ^ (std::uint64_t{1} << bit));
    const Ran theirs = run("qemu-img check -f qcow2 --output=json " + path());
    if (theirs.status == 1) continue;  // could not be checked
    const Json report = Json::parse(theirs.output, nullptr, false);
    Inspector inspector(dir_);
    const auto layer = inspector.layer(path(), "qcow2");
    if (!layer.ok()) {
      EXPECT_NE(theirs.status, 0) << layer.error().desc;
      continue;
    }
    const CheckResult& ours = (*layer)->report.check;
    if (place ==
        kL1) {  // qemu-img reads garbage from an L2 table that is not aligned, and counts it
      EXPECT_EQ(ours.corruptions != 0, report.value("corruptions", std::uint64_t{0}) != 0);
      continue;
    }
    EXPECT_EQ(ours.corruptions, report.value("corruptions", std::uint64_t{0}))
        << fmt::format("at {:#x} bit {}: ", at, bit) << ::testing::PrintToString(ours.details);
    EXPECT_EQ(ours.leaks, report.value("leaks", std::uint64_t{0}))
        << fmt::format("at {:#x} bit {}: ", at, bit) << ::testing::PrintToString(ours.details);
  }
}

// What the guest's disk is in a snapshot, by qemu-img's own reading of it.
std::vector<std::byte> snapshot_by_qemu(const TestDirectory& dir, const std::string& path,
                                        const std::string& name) {
  const std::string raw = dir / "raw";
  EXPECT_EQ(run("qemu-img convert -l snapshot.name=" + name + " -O raw " + path + " " + raw).status,
            0);
  std::vector<std::byte> bytes(dir.size(raw).value_or(0));
  EXPECT_TRUE(dir.read(raw, 0, bytes).ok());
  return bytes;
}

TEST(Snapshots, AreReadAndTheirReferencesCounted) {
  for (const char* options : {"cluster_size=65536", "cluster_size=4096", "compat=0.10"}) {
    SCOPED_TRACE(options);
    TestDirectory dir;
    const std::string path = dir / "image";
    const auto write = [&](const std::string& commands) {
      ASSERT_EQ(run("qemu-io -f qcow2 " + commands + " " + path).status, 0);
    };
    ASSERT_EQ(run(fmt::format("qemu-img create -q -f qcow2 -o {} {} 1M", options, path)).status, 0);
    write("-c 'write -P 1 0 300k'");
    ASSERT_EQ(run("qemu-img snapshot -c one " + path).status, 0);
    write("-c 'write -P 2 100k 20k' -c 'write -P 3 900k 64k'");
    ASSERT_EQ(run("qemu-img snapshot -c two " + path).status, 0);
    write("-c 'write -P 4 0 64k' -c 'write -z 128k 64k'");
    Inspector inspector(dir);
    const auto layer = inspector.layer(path, "qcow2");
    ASSERT_TRUE(layer.ok()) << layer.error().desc;
    EXPECT_TRUE((*layer)->report.check.clean())
        << ::testing::PrintToString((*layer)->report.check.details);
    ASSERT_EQ((*layer)->snapshots.size(), 2U);
    for (const InternalSnapshot& snapshot : (*layer)->snapshots) {
      SCOPED_TRACE(snapshot.name);
      const std::vector<std::byte> expected = snapshot_by_qemu(dir, path, snapshot.name);
      ASSERT_EQ(expected.size(), 1U << 20);
      for (const ContentRun& run : snapshot.content.runs)
        for (std::uint64_t at = run.offset; at < run.offset + run.length; ++at) {
          std::byte byte{run.pattern.value_or(0)};
          if (run.kind == Kind::data && !run.pattern)
            byte = snapshot.content.mixed[run.mixed_at + (at - run.offset)];
          ASSERT_EQ(byte, expected[at]) << at;
        }
    }
    // A cluster that only a snapshot uses is none that is lost, and one too many is told.
    ASSERT_EQ(run("qemu-img snapshot -d one " + path).status, 0);
    Inspector again(dir);
    EXPECT_TRUE((*again.layer(path, "qcow2"))->report.check.clean());
  }
}

TEST(Refused, WhatIsNotRead) {
  TestDirectory dir;
  const std::array<std::pair<std::string, std::string>, 5> cases = {{
      {"qemu-img create -q -f qcow2 -o extended_l2=on {} 1M", "extended L2"},
      {"qemu-img create -q -f qcow2 -o data_file={}.data {} 1M", "external data file"},
      {"qemu-img create -q -f qcow2 --object secret,id=s,data=x -o "
       "encrypt.format=aes,encrypt.key-secret=s {} 1M",
       "encrypted"},
      {"qemu-img create -q -f qcow2 {} 1M && qemu-img bitmap --add {} one", "bitmaps"},
      {"qemu-img create -q -f raw {}.raw 1M && qemu-io -f raw -c 'write -P 1 0 1M' {}.raw && "
       "qemu-img convert -q -c -f raw -O qcow2 {}.raw {}",
       "compressed"},
  }};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const std::string path = dir / ("image" + std::to_string(i));
    std::string command = cases[i].first;
    for (std::size_t at = command.find("{}"); at != std::string::npos; at = command.find("{}"))
      command.replace(at, 2, path);
    ASSERT_EQ(run(command).status, 0) << command;
    Inspector inspector(dir);
    const auto layer = inspector.layer(path, "qcow2");
    ASSERT_FALSE(layer.ok()) << command;
    EXPECT_THAT(layer.error().desc, ::testing::HasSubstr(cases[i].second));
    EXPECT_THAT(layer.error().desc, ::testing::StartsWith(path + ": "));
  }
}

TEST(Digest, TellsEveryChange) {
  TestDirectory dir;
  const std::string path = dir / "file";
  ASSERT_TRUE(dir.create(path, 100000).ok());
  const auto zeroes = digest(dir, path);
  ASSERT_TRUE(zeroes.ok());
  EXPECT_EQ(*digest(dir, path), *zeroes);
  for (const std::uint64_t at : {0U, 7U, 8U, 31U, 32768U, 99999U}) {
    ASSERT_TRUE(dir.write(path, at, std::array{std::byte{1}}).ok());
    EXPECT_NE(*digest(dir, path), *zeroes) << at;
    ASSERT_TRUE(dir.write(path, at, std::array{std::byte{0}}).ok());
    EXPECT_EQ(*digest(dir, path), *zeroes) << at;
  }
  ASSERT_TRUE(dir.create(path, 100001).ok());
  EXPECT_NE(*digest(dir, path), *zeroes);
  EXPECT_FALSE(digest(dir, dir / "nothing").ok());
}

}  // namespace
}  // namespace conformance::inspect
