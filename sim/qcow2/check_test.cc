// Damaged images: our check finds and says what qemu-img's does, and our repair leaves the same
// bytes.

#include "sim/qcow2/check.h"

#include <gtest/gtest.h>

#include "sim/base/json.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/qemu_tools.h"

namespace sim::qcow2 {
namespace {

struct Edit {
  std::uint64_t at;
  std::uint64_t value;
  unsigned bytes = 8;
};

// A damage to one of the images that CheckTest makes.
struct Damage {
  const char* name;
  const char* image;
  std::vector<Edit> edits;
  bool same_repair = true;  // QEMU's repair leaves the same file
};

std::shared_ptr<storage::MemoryFile> load(const std::string& path) {
  const std::vector<std::byte> bytes = testing::contents(path);
  auto file = std::make_shared<storage::MemoryFile>();
  file->write_now(0, bytes);
  return file;
}

// What a check says, with the numbers that qemu-img prints.
struct Report {
  int status = -1;
  std::string text = {};
  Json numbers = {};
};

class CheckTest : public testing::WithQemu {
 protected:
  // 64 KiB clusters: 0 header, 1 refcount table, 2 block, 3 L1, 4 L2, 5 to 9 data.
  std::string make(const std::string& kind) {
    if (!std::filesystem::exists(directory_ / kind)) {
      make_new(kind);
      std::filesystem::rename(directory_ / "x", directory_ / kind);
    }
    std::filesystem::copy_file(directory_ / kind, directory_ / "x",
                               std::filesystem::copy_options::overwrite_existing);
    return directory_ / "x";
  }

  void make_new(const std::string& kind) {
    const auto create = [&](const std::string& options, const std::string& size = "4M") {
      must("qemu-img create -q -f qcow2 " + options + " x " + size);
    };
    const auto io = [&](const std::string& commands) {
      must("qemu-io -f qcow2 " + commands + " x");
    };
    if (kind == "ext") {
      create("-o extended_l2=on");
    } else if (kind == "small") {
      create("-o cluster_size=512,refcount_bits=2");
    } else if (kind == "data") {
      create("-o data_file=x.raw");
    } else if (kind == "v2") {
      create("-o compat=0.10");
    } else if (kind == "wide") {
      create("-o refcount_bits=64,cluster_size=4k");
    } else {
      create("");
    }
    io("-c 'write -P 1 0 256k' -c 'write -P 2 1M 64k'");
    if (kind == "compressed") io("-c 'write -c -P 3 2M 64k' -c 'write -c -P 4 3M 64k'");
    if (kind == "snapshots") must("qemu-img snapshot -c one x && qemu-img snapshot -c two x");
    if (kind == "bitmap") must("qemu-img bitmap --add x b && qemu-io -c 'write 0 1M' x");
  }

  void damage(const std::string& path, const std::vector<Edit>& edits) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    for (const Edit& edit : edits) {
      std::array<std::byte, 8> bytes{};
      store_be(MutableBytes(bytes), 0, edit.value);
      file.seekp(static_cast<std::streamoff>(edit.at));
      file.write(reinterpret_cast<const char*>(bytes.data()) + 8 - edit.bytes, edit.bytes);
    }
  }

  Report qemus(const std::string& repair) {
    const testing::Ran ran =
        testing::run_command("cd " + directory_.path() + " && qemu-img check -f qcow2 " + repair +
                             " --output=json x > out 2> err; s=$?; cat err; exit $s");
    Report report{.status = ran.status, .text = ran.output};
    std::ifstream in(directory_ / "out");
    report.numbers = Json::parse(in, nullptr, false);
    return report;
  }

  // As `understudy image check` uses it: a repair that did something is followed by a look.
  Report ours(const std::shared_ptr<storage::Storage>& file, Repair repair) {
    Report report;
    const auto say = [&](std::string_view text) { report.text += std::string(text) + "\n"; };
    auto result = run(world_, check(file, {.repair = repair, .finding = say}));
    if (result.ok() && result->corruptions_fixed + result->leaks_fixed > 0) {
      const CheckResult first = *result;
      result = run(world_, check(file, {.repair = Repair::none, .finding = say}));
      if (result.ok()) {
        result->corruptions_fixed = first.corruptions_fixed;
        result->leaks_fixed = first.leaks_fixed;
      }
    }
    if (!result.ok()) {
      report.status = 1;
      report.text += "qemu-img: Check failed: " + os_error(result.error().number).desc + "\n";
      return report;
    }
    const CheckResult& now = *result;
    if (now.check_errors > 0) report.text += "qemu-img: Check failed\n";
    report.status = now.check_errors > 0 ? 1 : now.corruptions > 0 ? 2 : now.leaks > 0 ? 3 : 0;
    report.numbers = numbers(now);
    return report;
  }

  // From QEMU's `x`, which stores bitmaps anew whenever it closes an image.
  std::string difference(const storage::MemoryFile& file, const std::string& kind) {
    if (kind != "bitmap") return testing::difference(file, directory_ / "x");
    testing::save(file, directory_ / "y");
    must("qemu-io -f qcow2 -c 'read 0 1' y");
    return testing::difference(*load(directory_ / "y"), directory_ / "x");
  }

  static Json numbers(const CheckResult& result) {
    Json json = {{"filename", "x"}, {"format", "qcow2"}, {"check-errors", result.check_errors}};
    const auto add = [&json](const char* name, std::uint64_t value) {
      if (value != 0) json[name] = value;
    };
    add("corruptions", result.corruptions);
    add("leaks", result.leaks);
    add("corruptions-fixed", result.corruptions_fixed);
    add("leaks-fixed", result.leaks_fixed);
    add("image-end-offset", result.image_end_offset);
    add("total-clusters", result.total_clusters);
    add("allocated-clusters", result.allocated_clusters);
    add("fragmented-clusters", result.fragmented_clusters);
    add("compressed-clusters", result.compressed_clusters);
    return json;
  }
};

constexpr std::uint64_t kTable = 0x10000, kBlock = 0x20000, kL1 = 0x30000, kL2 = 0x40000;
constexpr std::uint64_t kCopied = format::kCopied;
const std::vector<Damage> kDamages = {
    {"nothing", "plain", {}},
    {"version 2", "v2", {}},
    {"extended L2", "ext", {}},
    {"data file", "data", {}},
    {"compressed", "compressed", {}},
    {"snapshots", "snapshots", {}},
    {"bitmap", "bitmap", {}},
    {"small clusters", "small", {}},
    {"wide counts", "wide", {}},
    {"L1: unaligned", "plain", {{kL1, kCopied | 0x40200}}},
    {"L1: reserved bits", "plain", {{kL1, kCopied | 0x40001}}},
    {"L1: beyond the end", "plain", {{kL1, kCopied | 0xff0000}}},
    {"L1: no COPIED", "plain", {{kL1, 0x40000}}},
    {"L1: the header", "plain", {{kL1, kCopied | 0x10000}}},
    {"L2: reserved bits", "plain", {{kL2, kCopied | 0x50002}}},
    {"L2: unaligned data", "plain", {{kL2, kCopied | 0x50200}}},
    {"L2: unaligned zero", "plain", {{kL2, kCopied | 0x50201}}},
    {"L2: beyond the end", "plain", {{kL2, kCopied | 0xff0000}}},
    {"L2: just beyond the end", "plain", {{kL2, kCopied | 0xa0000}}},
    {"L2: no COPIED", "plain", {{kL2, 0x50000}}},
    {"L2: twice the same", "plain", {{kL2 + 8, kCopied | 0x50000}}},
    {"L2: itself", "plain", {{kL2 + 8, kCopied | 0x40000}}},
    {"L2: refcount block", "plain", {{kL2 + 8, kCopied | 0x20000}}},
    {"L2: the header", "plain", {{kL2 + 8, kCopied | 0x0}}},
    {"L2: compressed with COPIED", "plain", {{kL2, 0xc980000000050123}}},
    {"L2: compressed beyond the end", "plain", {{kL2, 0x49a0000000050000}}},
    {"L2: compressed over two", "plain", {{kL2, 0x498000000005f000}}},
    {"L2: lost", "plain", {{kL2, 0}}},
    {"extended: both bits", "ext", {{kL2 + 8, 0x00000001ffffffff}}},
    {"extended: bits without a cluster", "ext", {{kL2, 0}}},
    {"extended: unaligned zero", "ext", {{kL2, kCopied | 0x50200}, {kL2 + 8, 0xffffffff00000000}}},
    {"extended: unaligned data", "ext", {{kL2, kCopied | 0x50200}}},
    {"extended: compressed with bits", "ext", {{kL2, 0x4980000000050000}}},
    {"extended: zero flag", "ext", {{kL2, kCopied | 0x50001}}},
    {"data file: compressed", "data", {{kL2, 0x4980000000050123}}},
    {"data file: no COPIED", "data", {{kL2 + 8, 0x10000}}},
    {"count too high", "plain", {{kBlock + 10, 3, 2}}},
    {"count too low", "snapshots", {{kBlock + 10, 1, 2}}},
    {"count 0", "plain", {{kBlock + 10, 0, 2}}},
    {"count of nothing", "plain", {{kBlock + 2 * 12, 2, 2}, {kL2 + 16, 0}}},
    {"count beyond the end", "plain", {{kBlock + 2 * 10, 1, 2}}},
    {"table: reserved bits", "plain", {{kTable, 0x20001}}, false},
    {"table: unaligned", "plain", {{kTable, 0x20200}}, false},
    {"table: beyond the end", "plain", {{kTable + 8, 0xff0000}}, false},
    {"table: just beyond the end", "plain", {{kTable + 8, 0xa0000}}},
    {"table: nothing", "plain", {{kTable, 0}}},
    {"table: twice the same", "plain", {{kTable + 8, 0x20000}}},
    {"table: data", "plain", {{kTable + 8, 0x50000}}},
    {"table elsewhere", "plain", {{format::at::refcount_table_offset, 0x50000}}, false},
    {"compressed: count", "compressed", {{kBlock + 20, 1, 2}}},
    {"small: L2 twice", "small", {{0x600, 0x8000000000000a00}}},
    {"dirty", "plain", {{format::at::incompatible_features, 1}}},
    {"corrupt", "plain", {{format::at::incompatible_features, 2}}},
    // QEMU clears the dirty bit even where it could not repair.
    {"dirty, counts lost",
     "plain",
     {{format::at::incompatible_features, 1}, {kBlock + 10, 0}},
     false},
    {"snapshot: L1 unaligned", "snapshots", {{0xd0000, 0xa0200}}},
    {"snapshot: L1 too large", "snapshots", {{0xd0008, 0x500000, 4}}},
    {"snapshot: no extra data", "snapshots", {{0xd0024, 0, 4}}},
    {"snapshot: little extra data", "snapshots", {{0xd0024, 8, 4}}, false},
    {"snapshot: much extra data", "snapshots", {{0xd0024, 2000, 4}}},
    {"snapshot: long id", "snapshots", {{0xd000c, 0xffff, 2}}},
    {"snapshot: one too many", "snapshots", {{60, 3, 4}}},
    {"snapshot: one forgotten", "snapshots", {{60, 1, 4}}},
    {"snapshot: table beyond the end", "snapshots", {{64, 0xff0000}}},
    {"snapshot: table unaligned", "snapshots", {{64, 0xd0200}}},
};

TEST_F(CheckTest, FindsWhatQemuFinds) {
  for (const Damage& each : kDamages) {
    SCOPED_TRACE(each.name);
    damage(make(each.image), each.edits);
    const Report expected = qemus("");
    const Report actual = ours(load(directory_ / "x"), Repair::none);
    EXPECT_EQ(actual.text, expected.text);
    EXPECT_EQ(actual.status, expected.status);
    if (!actual.numbers.is_null()) EXPECT_EQ(actual.numbers, expected.numbers);
  }
}

TEST_F(CheckTest, RepairsWhatQemuRepairs) {
  for (const Damage& each : kDamages) {
    for (const Repair repair : {Repair::leaks, Repair::all}) {
      SCOPED_TRACE(std::string(each.name) + (repair == Repair::all ? ", all" : ", leaks"));
      damage(make(each.image), each.edits);
      const auto file = load(directory_ / "x");
      const std::uint64_t before = file->size();
      const Report actual = ours(file, repair);
      const Report expected = qemus(repair == Repair::all ? "-r all" : "-r leaks");
      EXPECT_LE(file->size(), 2 * before);
      if (actual.status == 0) EXPECT_EQ(ours(file, Repair::none).status, 0);
      if (!each.same_repair) continue;
      EXPECT_EQ(actual.text, expected.text);
      EXPECT_EQ(actual.status, expected.status);
      if (!actual.numbers.is_null()) EXPECT_EQ(actual.numbers, expected.numbers);
      EXPECT_EQ(difference(*file, each.image), "");
    }
  }
}

}  // namespace
}  // namespace sim::qcow2
