#include <fmt/format.h>

#include "sim/image/texts.h"
#include "sim/tool/tool_run.h"

namespace sim::tool::testing {
namespace {

using Info = BesideQemu;

TEST_F(Info, OfEveryKindOfImageIsQemusWordForWord) {
  must("qemu-img create -q -f qcow2 plain 1T");
  must("qemu-img create -q -f qcow2 -o compat=0.10 v2 1500");
  must(
      "qemu-img create -q -f qcow2 -o compression_type=zstd,extended_l2=on,lazy_refcounts=on,"
      "refcount_bits=1,cluster_size=2M features 64M");
  must("qemu-img create -q -f qcow2 -o data_file=data,data_file_raw=on external 64M");
  must("mkdir sub && qemu-img create -q -f qcow2 -b plain -F qcow2 overlay");
  must("qemu-img create -q -f qcow2 -b ../overlay -F qcow2 sub/top");
  must("truncate -s 1000 raw");
  must("cp plain dirty && printf '\\003' | dd of=dirty bs=1 seek=79 conv=notrunc status=none");
  for (const char* name : {"plain", "v2", "features", "external", "overlay", "sub/top", "raw",
                           "dirty", "file:plain", "-f raw plain"}) {
    expect_same(fmt::format("info {}", name));
    expect_same_json(fmt::format("info {}", name));
  }
  expect_same("info --backing-chain sub/top", "--allow-outside");
  expect_same_json("info --backing-chain sub/top", "--allow-outside");
  expect_same_json("info --backing-chain raw");
  expect_same("info --image-opts driver=qcow2,file.filename=overlay");
  expect_same("info " + directory_.path() + "/overlay");
}

TEST_F(Info, NeedsNoDataFileAndNoKey) {
  must("qemu-img create -q -f qcow2 -o data_file=data external 64M && rm data");
  expect_same("info external");
}

TEST_F(Info, OfEncryptedImages) {
  must(
      "qemu-img create -q -f qcow2 --object secret,id=s,data=x -o encrypt.format=aes,"
      "encrypt.key-secret=s aes 1M");
  must_create(
      "--object secret,id=s,data=x -o "
      "encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,"
      "encrypt.iter-time=20 luks 1M");
  for (const char* name : {"aes", "luks"}) {
    expect_same(fmt::format("info {}", name));
    expect_same_json(fmt::format("info {}", name));
  }
  must("printf 9 | dd of=luks bs=1 seek=262151 conv=notrunc status=none");  // its version
  const auto theirs =
      qcow2::testing::run_command("cd " + directory_.path() + " && qemu-img info luks");
  EXPECT_EQ(tool("info luks").err, "understudy image" + theirs.output.substr(8));
}

TEST_F(Info, ListsSnapshotsAndBitmaps) {
  must(
      "qemu-img create -q -f qcow2 a 64M && qemu-img snapshot -c first a && "
      "qemu-img snapshot -c second a");
  expect_same("info a");
  expect_same_json("info a");
  must(
      "qemu-img create -q -f qcow2 b 64M && qemu-img bitmap --add b one && "
      "qemu-img bitmap --add -g 128k --disable b two");
  expect_same("info b");
  expect_same_json("info b");
}

TEST_F(Info, IsRefusedAsByQemu) {
  must("qemu-img create -q -f qcow2 -b missing -F qcow2 -u overlay 1M");
  expect_same("info overlay");
  for (const char* command :
       {"info", "info a b", "info nope", "info --output=xml overlay", "info -f what overlay",
        "info a:b", "info --image-opts driver=qcow2"}) {
    const auto theirs = qcow2::testing::run_command("cd " + directory_.path() + " && qemu-img " +
                                                    std::string(command));
    const Said said = tool(command);
    EXPECT_EQ(said.code, theirs.status) << command;
    EXPECT_EQ(said.out, "") << command;
    EXPECT_EQ(said.err.substr(0, said.err.find('\n')),
              "understudy image" + theirs.output.substr(std::string("qemu-img").size(),
                                                        theirs.output.find('\n') - 8))
        << command;
  }
}

TEST_F(Info, SizesForPeopleAreRoundedAsQemuDoes) {
  for (const std::uint64_t size :
       {512ULL, 1024ULL, 1536ULL, 10240ULL, 1023488ULL, 1023999488ULL, 1048064ULL, 1048576ULL,
        1126912ULL, 1130496ULL, 1047527424ULL, 1048051712ULL, 1500000256ULL, 10737418240ULL,
        1098974756864ULL, 1000000000000ULL}) {
    must(fmt::format("truncate -s {} raw", size));
    expect_same("info -f raw raw");
  }
  EXPECT_EQ(image::human_size(0), "0 B");
  EXPECT_EQ(image::human_size(999), "999 B");
  EXPECT_EQ(image::human_size(1000), "0.977 KiB");
  EXPECT_EQ(image::human_size(UINT64_MAX), "16 EiB");
}

}  // namespace
}  // namespace sim::tool::testing
