// `dump` of files that the real qemu-img made: what it says is what the format says, and what QEMU
// counts.

#include <gtest/gtest.h>

#include "sim/base/json.h"
#include "sim/tool/tool_run.h"
#include "sim/world/rng.h"

namespace sim::tool::testing {
namespace {

class Dump : public BesideQemu {
 protected:
  Json dumped(const std::string& options = {}) {
    const Said said = tool("dump --output=json x " + options);
    EXPECT_EQ(said.code, 0) << said.err;
    const Json parsed = Json::parse(said.out, nullptr, false);
    EXPECT_FALSE(parsed.is_discarded()) << said.out.substr(0, 2000);
    return parsed;
  }
  // The elements of a section of one kind.
  static std::vector<Json> of_kind(const Json& section, const std::string& kind) {
    std::vector<Json> found;
    for (const Json& element : section)
      if (element["kind"] == kind) found.push_back(element);
    return found;
  }
  static Json field(const Json& dump, const std::string& name) {
    for (const Json& element : dump["header"])
      if (element.value("name", "") == name) return element["value"];
    return {};
  }
  void start(const std::string& options = {}, const std::string& size = "64M") {
    must("rm -f x");
    must_create(options + " x " + size);
  }
};

TEST_F(Dump, TheWorkedExampleOfTheFormat) {
  start();
  must("qemu-io -c 'write 0 4k' x");
  const Json dump = dumped();
  EXPECT_EQ(dump["problems"], 0);
  EXPECT_EQ(dump["complete"], true);
  EXPECT_EQ(dump["length"], 0x60000);
  EXPECT_EQ(field(dump, "size"), 64 << 20);
  EXPECT_EQ(field(dump, "cluster_bits"), 16);
  EXPECT_EQ(field(dump, "l1_table_offset"), 0x30000);
  EXPECT_EQ(of_kind(dump["header"], "feature-name").size(), 8U);
  const auto l1 = of_kind(dump["l1"], "l1-entry");
  ASSERT_EQ(l1.size(), 1U);
  EXPECT_EQ(l1[0]["table"], 0x40000);
  const auto l2 = of_kind(dump["l2"], "l2-entry");
  ASSERT_EQ(l2.size(), 2U);
  EXPECT_EQ(l2[0]["host"], 0x50000);
  EXPECT_EQ(l2[0]["type"], "data");
  EXPECT_EQ(l2[1]["type"], "absent");
  EXPECT_EQ(l2[1]["count"], 8191);
  const auto counts = of_kind(dump["refcounts"], "refcounts");
  ASSERT_EQ(counts.size(), 2U);
  EXPECT_EQ(counts[0]["count"], 6);
  EXPECT_EQ(counts[1]["refcount"], 0);
  std::vector<std::string> what;
  for (const Json& run : dump["clusters"]) what.push_back(run["what"]);
  EXPECT_EQ(what, (std::vector<std::string>{"header", "refcount table", "refcount block",
                                            "L1 table", "L2 table", "data"}));
}

TEST_F(Dump, TextIsNoWiderThanAScreen) {
  start("-b /dev/null -F raw");
  must(
      "qemu-io -c 'write 0 4k' -c 'write 1M 3M' -c 'write -z 10M 64k' x && qemu-img snapshot -c "
      "one x");
  must("qemu-img bitmap --add x b0");
  const Said said = tool("dump x");
  EXPECT_EQ(said.code, 0);
  std::istringstream lines(said.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
  for (const char* part : {"HEADER", "cluster_bits", "SNAPSHOTS", "bitmap 'b0'", "shared x2"})
    EXPECT_NE(said.out.find(part), std::string::npos) << part << "\n" << said.out;
  EXPECT_TRUE(said.out.ends_with("\n0 problems\n")) << said.out;
}

// An image that QEMU calls clean has no problem here, and every cluster has a use.
TEST_F(Dump, CleanImagesOfEveryKindHaveNoProblems) {
  must("printf 0123456789 > passphrase");
  const std::vector<std::pair<std::string, std::string>> kinds = {
      {"", ""},
      {"-o compat=0.10", ""},
      {"-o cluster_size=512", ""},
      {"-o cluster_size=2M,refcount_bits=1", ""},
      {"-o extended_l2=on,refcount_bits=64", "qemu-io -c 'discard 1M 64k' x"},
      {"", "qemu-io -c 'write -c 8M 64k' -c 'write -c 9M 64k' x"},
      {"", "qemu-img snapshot -c a x; qemu-io -c 'write 1M 1M' x; qemu-img snapshot -c b x"},
      {"", "qemu-img bitmap --add x a; qemu-io -c 'write 2M 1M' x; qemu-img bitmap --add x b"},
      {"-o preallocation=metadata", ""},
      {"-o data_file=raw.img", ""},
      {"--object secret,id=s,file=passphrase -o encrypt.format=luks,encrypt.key-secret=s,"
       "encrypt.iter-time=1",
       "no writes"},
  };
  for (const auto& [options, then] : kinds) {
    SCOPED_TRACE(options + " " + then);
    start(options, "20M");
    if (then != "no writes") must("qemu-io -c 'write 0 2M' -c 'write -z 4M 2M' x; " + then);
    const Json dump = dumped();
    EXPECT_EQ(dump["problems"], 0) << tool("dump x").out.substr(0, 3000);
    EXPECT_EQ(dump["complete"], true);
  }
}

TEST_F(Dump, WhatIsAtAPlace) {
  start();
  must("qemu-io -c 'write 1M 256k' x; qemu-img snapshot -c one x");
  const Json at = dumped("--at 0x61234");
  const auto uses = of_kind(at["place"], "use");
  ASSERT_EQ(uses.size(), 2U);
  EXPECT_EQ(uses[0]["what"], "data of guest 0x100000 to 0x140000");
  EXPECT_EQ(uses[1]["what"], "snapshot 1 data of guest 0x100000 to 0x140000");
  EXPECT_EQ(of_kind(at["place"], "refcount")[0]["refcount"], 2);
  const Json guest = dumped("--guest 0x110010");
  EXPECT_EQ(of_kind(guest["guest"], "l2-entry")[0]["host"], 0x60000);
  EXPECT_EQ(of_kind(guest["guest"], "bytes")[0]["offset"], 0x60010);
  EXPECT_EQ(of_kind(guest["guest"], "bytes")[0]["hex"], "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd");
  const Json only = dumped("--only l1");
  EXPECT_TRUE(only.contains("l1"));
  EXPECT_FALSE(only.contains("l2") || only.contains("header"));
}

TEST_F(Dump, DamageIsNamedAndTheRestIsShown) {
  start();
  must("qemu-io -c 'write 0 128k' x");
  must("printf '\\0\\2' | dd of=x bs=1 seek=$((0x20012)) conv=notrunc status=none");  // cluster 9
  must("printf '\\2' | dd of=x bs=1 seek=$((0x4000e)) conv=notrunc status=none");     // L2 [1]
  const Said said = tool("dump x");
  EXPECT_EQ(said.code, 0);
  for (const char* part :
       {"not at a multiple of the cluster size", "counted too low", "beyond the end of the file"})
    EXPECT_NE(said.out.find(part), std::string::npos) << part << "\n" << said.out;
  must(
      "printf '\\11' | dd of=x bs=1 seek=23 conv=notrunc status=none; printf '\\0' | dd of=x "
      "bs=1 seek=20 conv=notrunc status=none");
  EXPECT_NE(tool("dump x").out.find("QEMU refuses to open this"), std::string::npos);
  must("echo text > x");
  const Said refused = tool("dump x");
  EXPECT_EQ(refused.code, 1);
  EXPECT_EQ(refused.err, "understudy image: Could not open 'x': Image is not in qcow2 format\n");
}

TEST_F(Dump, RandomDamageNeverDoesMoreThanShow) {
  start("-o cluster_size=4k", "4M");
  must(
      "qemu-io -c 'write 0 100k' -c 'write -c 200k 4k' x; qemu-img snapshot -c one x; qemu-img "
      "bitmap --add x b");
  const auto bytes = qcow2::testing::contents(directory_ / "x");
  Rng rng(5);
  for (int round = 0; round < 300; ++round) {
    auto file = std::make_shared<storage::MemoryFile>();
    file->write_now(0, bytes);
    for (std::uint64_t i = 0; i < 1 + rng.below(6); ++i) {
      const auto byte = static_cast<std::byte>(rng.below(256));
      const std::uint64_t at = rng.chance({1, 2}) ? rng.below(160) : rng.below(bytes.size());
      file->write_now(std::max<std::uint64_t>(at, 4), Bytes(&byte, 1));
    }
    qcow2::testing::save(*file, directory_ / "x");
    const Said said = tool(round % 2 == 0 ? "dump x" : "dump --at 5000 --output=json x");
    EXPECT_EQ(said.code, 0) << said.err;
  }
}

}  // namespace
}  // namespace sim::tool::testing
