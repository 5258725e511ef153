#include <fmt/format.h>

#include "sim/tool/tool_run.h"

namespace sim::tool::testing {
namespace {

class Map : public BesideQemu {
 protected:
  void expect_same_map(const std::string& command) {
    const auto [json, json_of_qemu] = both("map --output=json " + command);
    EXPECT_EQ(json, json_of_qemu) << command;
    const auto theirs =
        qcow2::testing::run_command("cd " + directory_.path() + " && qemu-img map " + command);
    const Said said = tool("map " + command);
    EXPECT_EQ(said.code, theirs.status) << command;
    if (said.code == 0) EXPECT_EQ(said.out, theirs.output) << command;
  }
};

TEST_F(Map, OfAChainIsQemus) {
  must("qemu-img create -q -f qcow2 base 256k && qemu-io -c 'write 0 64k' base");
  must(
      "qemu-img create -q -f qcow2 -b base -F qcow2 mid 512k && "
      "qemu-io -c 'write -z 320k 64k' -c 'write 448k 64k' -c 'write -z 448k 64k' mid");
  must(
      "qemu-img create -q -f qcow2 -b mid -F qcow2 top 1M && "
      "qemu-io -c 'write 576k 64k' -c 'write 640k 64k' -c 'write -z 704k 64k' top");
  for (const char* name : {"top", "mid", "base", "-s 1k -l 600k top", "-s 2M top", "-l 0 top",
                           "--image-opts driver=qcow2,file.filename=top"})
    expect_same_map(name);
  must("qemu-img create -q -f qcow2 -b top -F qcow2 over 3M");
  expect_same_map("over");
  must(
      "printf x >raw && truncate -s 70000 raw && qemu-img create -q -f qcow2 -F raw -b raw "
      "overraw 200k");
  for (const char* name : {"raw", "-f raw top", "overraw"}) expect_same_map(name);
}

TEST_F(Map, SaysHolesInClustersThatWereOnlyReserved) {
  must("qemu-img create -q -f qcow2 -o preallocation=metadata reserved 3M");
  expect_same_map("reserved");
  must("qemu-io -c 'write 1M 128k' -c 'write -z 2M 64k' reserved");
  expect_same_map("reserved");
  must("qemu-img create -q -f qcow2 -o preallocation=full full 3M");
  expect_same_map("full");
}

TEST_F(Map, IsRefusedAsByQemu) {
  must("qemu-img create -q -f qcow2 a 1M");
  for (const char* command : {"-s 1x a", "-s -1 a", "-l 8E a", "a b", "--output xml a"}) {
    const Said said = tool(std::string("map ") + command);
    EXPECT_EQ(said.code, 1) << command;
    EXPECT_EQ(said.out, "") << command;
  }
}

}  // namespace
}  // namespace sim::tool::testing
