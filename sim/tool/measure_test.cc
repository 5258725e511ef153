#include <fmt/format.h>

#include "sim/tool/tool_run.h"

namespace sim::tool::testing {
namespace {

class MeasureBesideQemu : public BesideQemu {
 protected:
  void expect_same_measure(const std::string& arguments) {
    expect_same("measure " + arguments);
    expect_same_json("measure " + arguments);
  }
};

TEST_F(MeasureBesideQemu, SizesOfEmptyDisks) {
  for (const char* size : {"0", "1", "1000", "1M", "1.5G", "1T", "7T"})
    for (const char* options :
         {"", "-o cluster_size=4k", "-o cluster_size=2M,extended_l2=on", "-o refcount_bits=64",
          "-o refcount_bits=1,cluster_size=512", "-o preallocation=full",
          "-o preallocation=metadata", "-o compat=0.10", "-o data_file=x"}) {
      if (std::string(options).find("512") != std::string::npos && std::string(size) > "1.5G")
        continue;
      expect_same_measure(fmt::format("-O qcow2 {} --size {}", options, size));
    }
  expect_same_measure("--size 1000");
  expect_same_measure("-O raw --size 1G");
  expect_same_measure(
      "--object secret,id=s,data=a -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s --size 1G");
}

TEST_F(MeasureBesideQemu, SizesOfImages) {
  must(
      "qemu-img create -q -f qcow2 a 64M && qemu-io -c 'write 1000k 3000k' a && "
      "qemu-img snapshot -c s1 a && qemu-io -c 'write 10M 1M' -c 'write -z 20M 1M' a");
  must("qemu-img create -q -f qcow2 -b a -F qcow2 b 80M && qemu-io -c 'write 70M 100k' b");
  must("truncate -s 3M raw && printf x | dd of=raw bs=1 seek=100000 conv=notrunc status=none");
  must(
      "qemu-img create -q -f qcow2 m 64M && qemu-img bitmap --add m one && "
      "qemu-img bitmap --add -g 512 m two");
  must("qemu-img create -q -f qcow2 -o compat=0.10 old 1M");
  for (const char* name : {"a", "b", "raw", "m", "old", "-f raw a", "-l s1 a"})
    for (const char* options : {"", "-o cluster_size=4k", "-o cluster_size=2M", "-o compat=0.10",
                                "-o backing_file=x,backing_fmt=raw", "-o preallocation=falloc",
                                "-o compat=0.10,extended_l2=on,lazy_refcounts=on"})
      expect_same_measure(fmt::format("-O qcow2 {} {}", options, name));
  expect_same_measure("-O raw b");
}

TEST_F(MeasureBesideQemu, IsRefusedAsByQemu) {
  must("qemu-img create -q -f qcow2 a 1M");
  for (const char* command :
       {"", "a a", "--size 1G a", "-f raw --size 1", "-O what --size 1", "-O vmdk --size 1",
        "-O qcow2 -o cluster_size=3k --size 1", "-O qcow2 --size 8E",
        "-O qcow2 -o compat=0.10,refcount_bits=1 --size 1G",
        "-O qcow2 -o compat=0.10,extended_l2=on,cluster_size=4k --size 1G",
        "-O qcow2 -o cluster_size=512 --size 1T", "-O qcow2 -o encrypt.format=luks --size 1G"}) {
    const auto theirs =
        qcow2::testing::run_command("cd " + directory_.path() + " && qemu-img measure " + command);
    const Said said = tool(std::string("measure ") + command);
    EXPECT_EQ(said.code, theirs.status) << command << theirs.output;
    EXPECT_EQ(said.out, "") << command;
    EXPECT_EQ(said.err.substr(0, said.err.find('\n')),
              "understudy image" + theirs.output.substr(8, theirs.output.find('\n') - 8))
        << command;
  }
}

}  // namespace
}  // namespace sim::tool::testing
