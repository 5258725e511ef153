// convert and dd beside qemu-img: the same bytes, the same allocation, and nothing left behind.

#include <gmock/gmock.h>

#include "sim/storage/faults.h"
#include "sim/storage/filtered_files.h"
#include "sim/tool/convert_for_test.h"

namespace sim::tool {
namespace {

using Convert = testing::ConvertBesideQemu;
using testing::kWrites;
using testing::Said;

TEST_F(Convert, RawToQcow2AndBack) {
  must("truncate -s 10000000 a.raw");
  must(std::string("qemu-io -f raw a.raw >/dev/null") + kWrites);
  for (const char* options : {"", "-S 0", "-S 512", "-S 64k", "-S 12k", "-S 1M", "-m 1"}) {
    expect_same_file(std::string("-f raw -O qcow2 a.raw DST ") + options);
    expect_same_file(std::string("-f raw -O raw a.raw DST ") + options);
  }
  must("qemu-img create -q -f qcow2 a.qcow2 10M");
  must(std::string("qemu-io a.qcow2 >/dev/null") + kWrites);
  for (const char* options : {"", "-S 0", "-S 512", "-S 64k"}) {
    expect_same_file(std::string("-O qcow2 a.qcow2 DST ") + options);
    expect_same_file(std::string("-O raw a.qcow2 DST ") + options);
  }
}

TEST_F(Convert, SmallClustersOfTheSource) {
  for (const char* size : {"512", "4k", "2M"}) {
    must(std::string("qemu-img create -q -f qcow2 a.qcow2 10M -o cluster_size=") + size);
    must(std::string("qemu-io a.qcow2 >/dev/null") + kWrites);
    expect_same_file("-O qcow2 a.qcow2 DST");
    expect_same_file("-O raw a.qcow2 DST");
  }
}

TEST_F(Convert, OnlyWhatTheTopmostLayerHas) {
  must(
      "qemu-img create -q -f qcow2 base.qcow2 6M && qemu-io base.qcow2 -c 'write -P 9 0 5M' "
      ">/dev/null");
  must("qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2 10M");
  must(std::string("qemu-io a.qcow2 >/dev/null") + kWrites);
  expect_same_file("-O qcow2 a.qcow2 DST");
  expect_same_file("-O raw a.qcow2 DST");
  expect_same_file("-O qcow2 -B base.qcow2 -F qcow2 a.qcow2 DST");
  expect_same_file("-O qcow2 -B base.qcow2 -F qcow2 -S 0 a.qcow2 DST");
  must("qemu-img convert -O raw a.qcow2 a.raw");
  expect_same_file("-f raw -O qcow2 -B base.qcow2 -F qcow2 a.raw DST");
}

TEST_F(Convert, SeveralSources) {
  must("truncate -s 1000000 a.raw && qemu-io -f raw a.raw -c 'write -P 1 900k 70k' >/dev/null");
  must("qemu-img create -q -f qcow2 b.qcow2 1000448");
  must("qemu-io b.qcow2 -c 'write -P 2 0 300k' -c 'write -P 3 976k 1k' >/dev/null");
  expect_same_file("-O qcow2 b.qcow2 b.qcow2 b.qcow2 DST");
  expect_same_file("-f raw -O qcow2 a.raw a.raw DST");
  expect_same_file("-f raw -O raw a.raw a.raw a.raw DST");
}

TEST_F(Convert, WithOptions) {
  must("qemu-img create -q -f qcow2 a.qcow2 10M");
  must(std::string("qemu-io a.qcow2 >/dev/null") + kWrites);
  for (const char* options : {"cluster_size=512", "cluster_size=4k", "cluster_size=2M",
                              "compat=0.10", "refcount_bits=64,cluster_size=512",
                              "preallocation=metadata", "cluster_size=1k,refcount_bits=1"})
    expect_same_file(std::string("-O qcow2 a.qcow2 DST -o ") + options);
  for (const char* options :
       {"nope=1", "cluster_size=3", "cluster_size=x", "compat=3", "refcount_bits=3",
        "preallocation=x", "lazy_refcounts=x", "backing_file=a.qcow2", "encrypt.format=luks"})
    EXPECT_EQ(tool(std::string("convert -O qcow2 a.qcow2 b -o ") + options).code, 1) << options;
  EXPECT_EQ(tool("convert -O qcow2 -c -o preallocation=metadata a.qcow2 b").code, 1);
  expect_same("convert -O qcow2 -o help a.qcow2 b");
  EXPECT_EQ(must("ls b 2>/dev/null || true"), "");
}

TEST_F(Convert, Compressed) {
  must("qemu-img create -q -f qcow2 a.qcow2 10000384");
  must(std::string("qemu-io a.qcow2 >/dev/null") + kWrites);
  for (const char* options : {"", "-S 0", "-o cluster_size=4k", "-o compression_type=zstd"})
    expect_same_file(std::string("-c -O qcow2 a.qcow2 DST ") + options);
}

TEST_F(Convert, IntoWhatIsThere) {
  must("qemu-img create -q -f qcow2 a.qcow2 10M");
  must(std::string("qemu-io a.qcow2 >/dev/null") + kWrites);
  const std::string full =
      "qemu-img create -q -f qcow2 DST 12M && qemu-io -c 'write -P 8 0 12M' DST >/dev/null";
  expect_same_file("-n -O qcow2 a.qcow2 DST", full);
  expect_same_file("-n -O qcow2 -S 0 a.qcow2 DST", full);
  expect_same_file("-n -O qcow2 a.qcow2 DST", "qemu-img create -q -f qcow2 DST 10M");
  expect_same_file("-n -O qcow2 --target-is-zero a.qcow2 DST",
                   "qemu-img create -q -f qcow2 DST 10M");
  expect_same_file("-n -O raw a.qcow2 DST", "head -c 12M /dev/zero | tr '\\0' x > DST");
  expect_same_file("-n -O raw --target-is-zero a.qcow2 DST", "truncate -s 10M DST");
  EXPECT_EQ(tool("convert -n -O qcow2 a.qcow2 nothing").code, 1);
  must("qemu-img create -q -f qcow2 small 4M");
  EXPECT_EQ(tool("convert -n -O qcow2 a.qcow2 small").err,
            "understudy image: output file is smaller than input file\n");
}

TEST_F(Convert, ReplacesADestinationAtTheEndOnly) {
  must("truncate -s 1M a.raw; echo precious > b; chmod 640 b; ln -s b link");
  EXPECT_EQ(tool("convert -f raw -O qcow2 nothing b").code, 1);
  EXPECT_EQ(tool("convert -f raw -O raw -c a.raw b").code, 1);
  EXPECT_EQ(must("cat b"), "precious\n");
  EXPECT_EQ(tool("convert -f raw -O qcow2 a.raw link").code, 0);
  EXPECT_EQ(must("stat -c %a b; readlink link"), "640\nb\n");
  EXPECT_EQ(must("qemu-img info b | grep format:"), "file format: qcow2\n");
  EXPECT_EQ(must("ls -A"), "a.raw\nb\nlink\n");
}

TEST_F(Convert, NeverOntoASource) {
  must("qemu-img create -q -f qcow2 base 1M; qemu-img create -q -f qcow2 -b base -F qcow2 top");
  must("cp base base0; cp top top0; ln -s base link");
  for (const char* command :
       {"convert -O qcow2 top top", "convert -O qcow2 top base", "convert -O raw top link",
        "convert -n -O qcow2 top ./base", "dd if=top of=base", "dd if=base of=link"})
    EXPECT_EQ(tool(command).code, 1) << command;
  must("cmp base base0 && cmp top top0");
  EXPECT_EQ(must("ls -A"), "base\nbase0\nlink\ntop\ntop0\n");
}

TEST_F(Convert, RefusesWhatQemuRefuses) {
  must("truncate -s 1M a.raw");
  for (const char* arguments :
       {"", " a.raw", " -c -O raw a.raw b", " -O foo a.raw b", " -S 100 a.raw b",
        " --target-is-zero a.raw b", " -n -O qcow2 a.raw nothing", " -m 0 a.raw b",
        " -m 17 a.raw b", " -r abc a.raw b", " -t foo a.raw b", " -T foo a.raw b",
        " -C -c -O qcow2 a.raw b", " --skip-broken-bitmaps a.raw b",
        " --bitmaps -f raw -O qcow2 a.raw b", " -l x -f raw a.raw a.raw b", " -Z a b",
        " -O qcow2 a.raw nowhere/b"}) {
    const auto theirs =
        qcow2::testing::run_command("cd " + directory_.path() + " && qemu-img convert" + arguments);
    EXPECT_EQ(theirs.status, 1) << arguments;
    must("rm -f b");
    EXPECT_EQ(tool(std::string("convert") + arguments).code, 1) << arguments;
  }
  EXPECT_EQ(must("ls -A"), "a.raw\n");
}

TEST_F(Convert, ShowsProgressAsQemuDoes) {
  must("truncate -s 10M a.raw");
  expect_same("convert -p -f raw -O qcow2 a.raw b");
  must("qemu-io -f raw a.raw -c 'write 1M 3M' -c 'write 6M 1M' >/dev/null");
  expect_same("convert -p -f raw -O qcow2 a.raw b");
}

TEST_F(Convert, NothingIsLeftWhenItFails) {
  must("head -c 3M /dev/urandom > a.raw; echo precious > b");
  for (std::uint64_t n = 1; n < 12; ++n) {
    const auto plan = std::make_shared<storage::FaultPlan>();
    plan->add({.operation = storage::Operation::write, .nth = n, .number = ENOSPC});
    storage::FilteredFiles faulty(files_, [&](const std::string&, auto file) {
      return std::make_shared<storage::Faults>(std::move(file), plan);
    });
    const Said said =
        testing::run_image(faulty, directory_.path(), "convert -f raw -O qcow2 a.raw b");
    if (plan->met() == 0) break;
    EXPECT_EQ(said.code, 1) << n;
    EXPECT_THAT(said.err, ::testing::HasSubstr("No space left on device")) << n;
    EXPECT_EQ(must("cat b"), "precious\n");
    EXPECT_EQ(must("ls -A"), "a.raw\nb\n");
  }
}

TEST_F(Convert, SalvagesWhatCanBeRead) {
  must("head -c 3M /dev/urandom > a.raw; truncate -s 3M zeroes");
  const auto plan = std::make_shared<storage::FaultPlan>();
  storage::FilteredFiles faulty(
      files_, [&](const std::string& path, std::shared_ptr<storage::Storage> file) {
        if (path.ends_with("a.raw")) file = std::make_shared<storage::Faults>(file, plan);
        return file;
      });
  plan->add({.operation = storage::Operation::read, .lasting = true});
  const std::string command = "convert -f raw -O raw a.raw out";
  EXPECT_EQ(testing::run_image(faulty, directory_.path(), command).err,
            "understudy image: error while reading at byte 0: Input/output error\n");
  const Said said = testing::run_image(faulty, directory_.path(), command + " --salvage");
  EXPECT_EQ(said.code, 0);
  EXPECT_THAT(said.err, ::testing::StartsWith("understudy image: warning: error while reading "
                                              "offset 0: Input/output error\n"));
  must("cmp zeroes out");
  plan->clear();
  plan->add({.operation = storage::Operation::read});  // once: a second try finds everything
  EXPECT_EQ(testing::run_image(faulty, directory_.path(), command + " --salvage").code, 0);
  must("cmp a.raw out");
}

TEST_F(Convert, BlocksOfADisk) {
  must("head -c 1000000 /dev/urandom > a.raw");
  for (const char* arguments :
       {"", "bs=1000 skip=3 count=50", "bs=64k skip=3", "bs=4k skip=3 count=0", "bs=1M count=100",
        "bs=1k skip=7 count=9", "skip=99999999", "bs=1M skip=1"})
    for (const char* format : {"raw", "qcow2"}) {
      const std::string start = std::string("dd -f raw -O ") + format + " if=a.raw " + arguments;
      must("qemu-img " + start + " of=theirs");
      const Said said = tool(start + " of=ours");
      EXPECT_EQ(said.code, 0) << said.err;
      EXPECT_EQ(must("cmp theirs ours && echo same"), "same\n") << start;
    }
  for (const char* arguments :
       {"if=a.raw", "of=b", "if=a.raw of=b x=1", "if=a.raw of=b x", "if=a.raw of=b bs=0",
        "if=a.raw of=b bs=3G", "if=a.raw of=b count=x", "if=nothing of=b", "if=a.raw of=no/b"})
    EXPECT_EQ(tool(std::string("dd -f raw ") + arguments).code, 1) << arguments;
}

}  // namespace
}  // namespace sim::tool
