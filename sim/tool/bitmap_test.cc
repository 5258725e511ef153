// `bitmap` beside qemu-img: files, words and codes.

#include <gtest/gtest.h>

#include <regex>

#include "sim/base/json.h"
#include "sim/tool/tool_run.h"

namespace sim::tool::testing {
namespace {

class BitmapCommand : public BesideQemu {
 protected:
  // The same command on a.qcow2, by the tool, and on b.qcow2, by qemu-img: the same end, words and
  // files.
  void expect_alike(const std::string& command) {
    SCOPED_TRACE(command);
    const Said said = tool(command);
    const auto theirs =
        qcow2::testing::run_command("cd " + directory_.path() + " && qemu-img " +
                                    std::regex_replace(command, std::regex("a.qcow2"), "b.qcow2"));
    EXPECT_EQ(said.code, theirs.status);
    std::string ours = std::regex_replace(said.err, std::regex("understudy image: "), "qemu-img: ");
    ours = std::regex_replace(ours, std::regex("in '[^']*'"), "in NODE");
    std::string expected = std::regex_replace(theirs.output, std::regex("in '[^']*'"), "in NODE");
    expected = std::regex_replace(expected, std::regex("\nTry "), "; Try ");  // ours is one line
    EXPECT_EQ(ours, std::regex_replace(expected, std::regex("b.qcow2"), "a.qcow2"));
    must("cmp a.qcow2 b.qcow2");
  }
  void start(const std::string& options) {
    must("rm -f a.qcow2 && qemu-img create -q -f qcow2 " + options + " a.qcow2 64M");
    must("cp a.qcow2 b.qcow2");
  }
};

TEST_F(BitmapCommand, ActionsGiveQemusFiles) {
  start("");
  expect_alike("bitmap --add a.qcow2 b0");
  expect_alike("bitmap --add -g 4k --disable -f qcow2 a.qcow2 b1");
  must("qemu-io -c 'write 1M 1M' a.qcow2 && cp a.qcow2 b.qcow2");
  expect_alike("bitmap --merge b0 --enable a.qcow2 b1");
  expect_alike("bitmap --add --merge b0 --merge b1 --disable a.qcow2 sum");
  expect_alike("bitmap --clear a.qcow2 b0");
  expect_alike("bitmap --merge sum a.qcow2 b0");
  expect_alike("bitmap --remove a.qcow2 b1");
  expect_alike("bitmap --remove --add --remove a.qcow2 sum");
  start("-o cluster_size=2M");
  expect_alike("bitmap --add --clear --enable --disable a.qcow2 x");
  start("-o cluster_size=512");
  expect_alike("bitmap --add -g 0 a.qcow2 x");
}

TEST_F(BitmapCommand, AnotherFilesBitmapsAreMerged) {
  start("");
  expect_alike("bitmap --add a.qcow2 x");
  must("qemu-io -c 'write 1M 1M' a.qcow2");
  must("cp a.qcow2 source.qcow2");
  start("");
  expect_alike("bitmap --add -g 512 a.qcow2 y");
  expect_alike("bitmap --merge x -b source.qcow2 -F qcow2 a.qcow2 y");
  expect_alike("bitmap --merge no -b source.qcow2 -F qcow2 a.qcow2 y");
  expect_alike("bitmap --merge x -b source.qcow2 -F raw a.qcow2 y");
  must("qemu-img resize -q source.qcow2 65M");
  expect_alike("bitmap --merge x -b source.qcow2 -F qcow2 a.qcow2 y");
}

TEST_F(BitmapCommand, ConvertTakesThemAlong) {
  start("");
  for (const char* add : {"x", "-g 4k y", "--disable z"})
    must(std::string("qemu-img bitmap --add a.qcow2 ") + add);
  must("qemu-io -c 'write 1M 1M' -c 'write 40M 4k' a.qcow2; qemu-img bitmap --merge x a.qcow2 z");
  const Said said = tool("convert --bitmaps -f qcow2 -O qcow2 a.qcow2 ours.qcow2");
  EXPECT_EQ(said.code, 0) << said.err;
  must("qemu-img convert -m 1 --bitmaps -f qcow2 -O qcow2 a.qcow2 theirs.qcow2");
  must("cmp ours.qcow2 theirs.qcow2");
}

TEST_F(BitmapCommand, RefusalsAreInQemusWords) {
  start("");
  for (const char* command : {"bitmap",
                              "bitmap a.qcow2 b",
                              "bitmap --add",
                              "bitmap --add a.qcow2",
                              "bitmap --add a.qcow2 b c",
                              "bitmap --add -g 511 a.qcow2 x",
                              "bitmap --add -g 4G a.qcow2 x",
                              "bitmap --add -g 8E a.qcow2 x",
                              "bitmap -g 512 --remove a.qcow2 x",
                              "bitmap -F raw --remove a.qcow2 x",
                              "bitmap -b a.qcow2 -F raw --remove a.qcow2 x",
                              "bitmap --remove a.qcow2 no",
                              "bitmap --clear a.qcow2 no",
                              "bitmap --enable a.qcow2 no",
                              "bitmap --disable a.qcow2 no",
                              "bitmap --merge no a.qcow2 no",
                              "bitmap --add a.qcow2 ''",
                              "bitmap --add a.qcow2 x",
                              "bitmap --add a.qcow2 x",
                              "bitmap --merge no a.qcow2 x",
                              "bitmap --remove --remove a.qcow2 x",
                              "bitmap --remove -f raw a.qcow2 x"})
    expect_alike(command);
  expect_alike("bitmap --add a.qcow2 " + std::string(1024, 'n'));
  start("-o compat=0.10");
  expect_alike("bitmap --add a.qcow2 x");
}

TEST_F(BitmapCommand, NoSnapshotIsAppliedBesideThem) {
  start("");
  must("qemu-img snapshot -c s a.qcow2 && cp a.qcow2 b.qcow2");
  expect_alike("bitmap --add a.qcow2 x");
  const Said said = tool("snapshot -a s a.qcow2");
  const auto theirs =
      qcow2::testing::run_command("cd " + directory_.path() + " && qemu-img snapshot -a s b.qcow2");
  EXPECT_EQ(said.code, theirs.status);
  EXPECT_EQ(said.err,
            std::regex_replace(theirs.output, std::regex("qemu-img"), "understudy image"));
  must("cmp a.qcow2 b.qcow2");
}

TEST_F(BitmapCommand, InconsistentOnesCanOnlyBeRemoved) {
  start("");
  expect_alike("bitmap --add a.qcow2 x");
  expect_alike("bitmap --add a.qcow2 y");
  qcow2::testing::run_command("cd " + directory_.path() + " && qemu-io -c abort a.qcow2");
  must("cp a.qcow2 b.qcow2");
  for (const char* action : {"--add", "--clear", "--enable", "--disable", "--merge y"})
    expect_alike(std::string("bitmap ") + action + " a.qcow2 x");
  expect_alike("bitmap --remove --add a.qcow2 x");
  expect_alike("bitmap --merge y a.qcow2 x");
}

}  // namespace
}  // namespace sim::tool::testing
