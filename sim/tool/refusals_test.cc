// What is refused leaves everything as it was, and is refused where QEMU refuses it.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sim/tool/tool_run.h"

namespace sim::tool::testing {
namespace {

class Refused : public BesideQemu {
 protected:
  void expect_same_code(const std::string& command) {
    const Said said = tool(command);
    const auto theirs =
        qcow2::testing::run_command("cd " + directory_.path() + " && qemu-img " + command);
    EXPECT_EQ(said.code, theirs.status) << command << "\n" << said.err << theirs.output;
  }
};

TEST_F(Refused, BitmapsStayUsable) {
  must("qemu-img create -q -f qcow2 base 1M && qemu-img create -q -f qcow2 -b base -F qcow2 a");
  must("qemu-img bitmap --add a x && qemu-img bitmap --add base x && qemu-img create -q big 2M");
  for (const char* command :
       {"commit -b nope a", "rebase -b nope -F qcow2 a", "convert -n -f raw -O qcow2 big a",
        "rebase -b a -F qcow2 a", "snapshot -d none a"}) {
    SCOPED_TRACE(command);
    EXPECT_NE(tool(command).code, 0);
    const std::string info = must("qemu-img info --output=json a");
    EXPECT_EQ(info.find("in-use"), std::string::npos) << info;
  }
  must("rm base");
  EXPECT_NE(tool("commit a").code, 0);
  EXPECT_EQ(must("qemu-img info --output=json a").find("in-use"), std::string::npos);
  // A bitmap needs nothing from below.
  EXPECT_EQ(tool("bitmap --clear a x").code, 0);
}

TEST_F(Refused, WhatIsReadOnlyIsNotWritten) {
  must("qemu-img create -q -f qcow2 a 1M");
  const std::string options = "--image-opts driver=qcow2,file.filename=a,read-only=on";
  for (const std::string& command :
       {"resize " + options + " 2M", "snapshot -c s " + options, "amend -o compat=0.10 " + options,
        "bitmap --add " + options + " b", std::string("snapshot -U -c s a")}) {
    const std::string before = must("sha256sum a");
    EXPECT_EQ(tool(command).code, 1) << command;
    EXPECT_EQ(must("sha256sum a"), before) << command;
  }
  EXPECT_EQ(tool("io -c 'write 0 64k' " + options).code, 1);
  EXPECT_EQ(tool("map " + options).code, 0);
}

TEST_F(Refused, ImagesNeverBecomeLoops) {
  must("qemu-img create -q -f qcow2 a 1M && qemu-img create -q -f qcow2 -b a -F qcow2 over");
  must("ln -s a link");
  for (const char* backing : {"a", "./a", "link", "over"}) {
    EXPECT_EQ(tool(std::string("rebase -F qcow2 -b ") + backing + " a").code, 1) << backing;
    EXPECT_EQ(tool("map over").code, 0) << backing;
  }
}

TEST_F(Refused, NothingCompressedInEncryptedImages) {
  must("yes secret | head -c 64k >plain && truncate -s 1M plain");
  const std::string key = "--object secret,id=s,data=a ";
  for (const char* format : {"luks,encrypt.iter-time=10", "aes"}) {
    const std::string options =
        key + "-O qcow2 -o encrypt.key-secret=s,encrypt.format=" + format + " plain out";
    EXPECT_EQ(tool("convert -f raw -c " + options).code, 1);
    EXPECT_EQ(tool("convert -f raw " + options).code, 0);
    EXPECT_EQ(tool("io " + key +
                   "-c 'write -c 512k 64k' --image-opts "
                   "driver=qcow2,encrypt.key-secret=s,file.filename=out")
                  .code,
              1);
  }
}

// A guest could choose the host's files by what it writes into a disk whose format is not recorded.
TEST_F(Refused, AProbedDiskStaysRaw) {
  must("qemu-img create -q -f raw r 1M && printf 'QFI\\373\\0\\0\\0\\3' >start");
  const std::string before = must("sha256sum r");
  const Said said = tool("io -c 'write -s start 0 512' r");
  EXPECT_EQ(said.code, 1);
  EXPECT_NE(said.out.find("Operation not permitted"), std::string::npos) << said.out;
  EXPECT_NE(said.err.find("probing guessed raw"), std::string::npos) << said.err;
  EXPECT_EQ(must("sha256sum r"), before);
  EXPECT_EQ(tool("io -c 'write -P 1 0 4k' r").code, 0);
  EXPECT_EQ(tool("io -f raw -c 'write -s start 0 512' r").code, 0);
}

TEST_F(Refused, FormatsThatAreNone) {
  must("qemu-img create -q -f qcow2 a 1M");
  for (const char* command :
       {"rebase -u -b x -F blah a", "create -q -u -f qcow2 -b x -F blah new 1M",
        "convert -O qcow2 -B a -F qcow2 a a new"}) {
    SCOPED_TRACE(command);
    const std::string before = must("sha256sum *");
    expect_same_code(command);
    EXPECT_EQ(must("rm -f new; sha256sum *"), before);
  }
}

TEST_F(Refused, ACompareThatCannotBeIsNotADifference) {
  must("qemu-img create -q -f qcow2 a 1M");
  for (const char* command :
       {"compare -T zz a a", "compare -f qcow2 --image-opts driver=qcow2,file.filename=a a",
        "compare a none"})
    expect_same_code(command);
  EXPECT_EQ(tool("compare a").code, 2);
}

TEST_F(Refused, ButTheseAreNot) {
  must("qemu-img create -q -f qcow2 a 1M && qemu-io -c 'write -P 5 0 64k' a >io");
  EXPECT_EQ(tool("convert -O raw file:a file:b").code, 0);
  must("qemu-img compare -f qcow2 -F raw a b");
  EXPECT_EQ(tool("create -q -f qcow2 -o lazy_refcounts=yes file:c 1M").code, 0);
  EXPECT_NE(must("qemu-img info c").find("lazy refcounts: true"), std::string::npos);
  EXPECT_EQ(tool("amend -t none -o lazy_refcounts=false c").code, 0);
  expect_same_code("amend -t zz -o lazy_refcounts=on c");
  // Where a link leads, though nothing is there.
  must("mkdir t && ln -s t/x link && ln -s none/x nowhere");
  EXPECT_EQ(tool("convert -O raw a link").code, 0);
  must("test -L link && qemu-img compare -f qcow2 -F raw a t/x");
  EXPECT_EQ(tool("convert -O raw a nowhere").code, 1);
  // Discards that are to be ignored are.
  EXPECT_EQ(tool("io -d ignore -c 'discard 0 64k' a").code, 0);
  must("qemu-io -c 'read -P 5 0 64k' a");
}

}  // namespace
}  // namespace sim::tool::testing
