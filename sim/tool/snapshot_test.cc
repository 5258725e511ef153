#include "sim/tool/tool_run.h"

namespace sim::tool::testing {
namespace {

using SnapshotCommand = BesideQemu;

TEST_F(SnapshotCommand, MakesListsAppliesAndDeletes) {
  must("qemu-img create -q -f qcow2 x 4M && qemu-io -f qcow2 -c 'write -P 1 0 192k' x");
  EXPECT_EQ(tool("snapshot -c first x").code, 0);
  must("qemu-io -f qcow2 -c 'write -P 2 0 192k' x && qemu-img snapshot -c second x");
  expect_same("snapshot -l x");
  EXPECT_NE(tool("snapshot -l x").out.find("2023-11-14 22:13:20"), std::string::npos);
  EXPECT_EQ(tool("snapshot -a first x").code, 0);
  must("qemu-io -f qcow2 -c 'read -P 1 0 192k' x && qemu-img check x");
  EXPECT_EQ(tool("snapshot -a 2 x").code, 0);
  must("qemu-io -f qcow2 -c 'read -P 2 0 192k' x && qemu-img check x");
  EXPECT_EQ(tool("snapshot -d first x").code, 0);
  expect_same("snapshot -l x");
  EXPECT_EQ(tool("snapshot -d second x").code, 0);
  expect_same("snapshot -l x");
  expect_same("snapshot x");
  must("qemu-img check x");
}

TEST_F(SnapshotCommand, ShowsDatesInLocalTime) {
  must("qemu-img create -q -f qcow2 x 4M && qemu-img snapshot -c first x");
  for (const auto& [zone, ahead] :
       {std::pair{"AAA0", 0}, std::pair{"AAA-5:30", 19800}, std::pair{"AAA11", -39600}})
    for (const char* command : {"snapshot -l x", "info x"})
      EXPECT_EQ(run_image(files_, directory_.path(), command,
                          [ahead](std::uint64_t) { return std::int64_t{ahead}; })
                    .out,
                must("TZ=" + std::string(zone) + " qemu-img " + command));
}

TEST_F(SnapshotCommand, RefusesWhatQemuRefuses) {
  must("qemu-img create -q -f qcow2 x 4M && qemu-img snapshot -c first x");
  must("qemu-img create -q -f qcow2 -o refcount_bits=1 narrow 1M");
  must("qemu-io -f qcow2 -c 'write 0 64k' narrow");
  must("qemu-img create -q -f qcow2 -o data_file=data external 1M && truncate -s 1M raw");
  for (const char* command :
       {"snapshot -a none x", "snapshot -d none x", "snapshot -d 1 x", "snapshot -l -c a x",
        "snapshot -c a -c b x", "snapshot", "snapshot -l x x", "snapshot -c a narrow",
        "snapshot -c a external", "snapshot -l missing"}) {
    const auto theirs = qcow2::testing::run_command("cd " + directory_.path() + " && qemu-img " +
                                                    std::string(command));
    const Said said = tool(command);
    EXPECT_EQ(said.code, theirs.status) << command;
    EXPECT_EQ(said.err.substr(0, said.err.find('\n')),
              "understudy image" + theirs.output.substr(std::string("qemu-img").size(),
                                                        theirs.output.find('\n') - 8))
        << command;
  }
}

}  // namespace
}  // namespace sim::tool::testing
