// New images against `qemu-img create`: the same bytes, the same refusals.

#include "sim/qcow2/create.h"

#include "sim/qcow2/qemu_tools.h"

namespace sim::qcow2 {
namespace {

class CreateTest : public testing::WithQemu {
 protected:
  void expect_same(const CreateOptions& options) {
    SCOPED_TRACE("size " + std::to_string(options.size) + " cluster_bits " +
                 std::to_string(options.cluster_bits) + " backing " + options.backing_file + " " +
                 options.backing_format);
    const std::string path = directory_ / "qemu.qcow2";
    std::string command = "qemu-img create -q -f qcow2 -o cluster_size=" +
                          std::to_string(std::uint64_t{1} << options.cluster_bits);
    if (!options.backing_file.empty())
      command += " -u -b '" + options.backing_file + "' -F " + options.backing_format;
    must(command + " qemu.qcow2 " + std::to_string(options.size));
    storage::MemoryFile file;
    const auto old = std::vector<std::byte>(100000, std::byte{0xaa});
    file.write_now(12345, old);  // what was there is gone
    const auto made = run(world_, create(file, options));
    ASSERT_TRUE(made.ok()) << made.error().desc;
    EXPECT_EQ(testing::difference(file, path), "");
  }
};

TEST_F(CreateTest, SameBytesForEverySizeAndClusterSize) {
  for (const std::uint64_t size :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{512}, std::uint64_t{1000}, 1_MiB, 64_MiB,
        512_MiB + 1, 600_MiB, 1024_GiB})
    for (const std::uint32_t bits : {9U, 10U, 12U, 13U, 16U, 18U, 21U}) {
      if (bits <= 10 && size == 1024_GiB) continue;  // refused, below
      expect_same({.size = size, .cluster_bits = bits, .backing_file = "", .backing_format = ""});
    }
}

TEST_F(CreateTest, SameBytesWithABackingFile) {
  for (const std::uint32_t bits : {9U, 12U, 16U, 21U})
    for (const std::string& name :
         {std::string("base.qcow2"), std::string("/a/b/c.img"), std::string(200, 'x'),
          std::string("json:{\"driver\":\"raw\"}")})
      for (const std::string& format : {"raw", "qcow2", "vmdk"})
        expect_same(
            {.size = 1_MiB, .cluster_bits = bits, .backing_file = name, .backing_format = format});
  expect_same({.size = 1_MiB,
               .cluster_bits = 16,
               .backing_file = std::string(1023, 'y'),
               .backing_format = "qcow2"});
}

// 512-byte clusters: the L1 table of 8 GiB needs 16 more refcount blocks, that of 128 GiB a larger
// refcount table.
TEST_F(CreateTest, RefcountBlocksAndTableGrowInTheSamePlaces) {
  for (const std::uint64_t gib : {1, 8, 128})
    expect_same({.size = gib << 30, .cluster_bits = 9, .backing_file = "", .backing_format = ""});
}

TEST_F(CreateTest, TheLongestL1TableIsTheLast) {
  storage::MemoryFile file;
  const CreateOptions too_large{
      .size = 128_GiB + 1, .cluster_bits = 9, .backing_file = "", .backing_format = ""};
  const auto made = run(world_, create(file, too_large));
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().number, EFBIG);
  EXPECT_NE(testing::run_command("qemu-img create -f qcow2 -o cluster_size=512 " +
                                 (directory_ / "x") + " " + std::to_string(128_GiB + 1))
                .status,
            0);
}

TEST_F(CreateTest, RefusalsHaveQemusWords) {
  const auto expect_refused = [&](const CreateOptions& options, const std::string& arguments) {
    storage::MemoryFile file;
    const auto made = run(world_, create(file, options));
    ASSERT_FALSE(made.ok());
    const testing::Ran ran = testing::run_command("cd " + directory_.path() +
                                                  " && qemu-img create -q -f qcow2 " + arguments);
    EXPECT_EQ(ran.status, 1);
    EXPECT_EQ("qemu-img: x: " + made.error().desc + "\n", ran.output);
  };
  for (const std::uint32_t bits : {8U, 22U})
    expect_refused({.size = 1_MiB, .cluster_bits = bits, .backing_file = "", .backing_format = ""},
                   "-o cluster_size=" + std::to_string(1U << bits) + " x 1M");
  for (const auto& [bits, length] : {std::pair{16U, 1024U}, {9U, 400U}}) {
    const std::string name(length, 'z');
    expect_refused(
        {.size = 1_MiB, .cluster_bits = bits, .backing_file = name, .backing_format = "raw"},
        "-o cluster_size=" + std::to_string(1U << bits) + " -u -b " + name + " -F raw x 1M");
  }
}

}  // namespace
}  // namespace sim::qcow2
