// convert beside qemu-img, for images that are more than clusters of data.

#include "sim/tool/convert_for_test.h"

namespace sim::tool {
namespace {

using Convert = testing::ConvertBesideQemu;
using testing::kWrites;
using testing::Said;

TEST_F(Convert, WithMoreOptions) {
  must("qemu-img create -q -f qcow2 a.qcow2 10M");
  must(std::string("qemu-io a.qcow2 >/dev/null") + kWrites);
  for (const char* options : {"lazy_refcounts=on", "extended_l2=on"})
    expect_same_file(std::string("-O qcow2 a.qcow2 DST -o ") + options);
}

TEST_F(Convert, EncryptedImages) {
  const std::string secret = "--object secret,id=s,data=hush ";
  const std::string luks = " --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=";
  must_create(secret +
              "-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 "
              "a.qcow2 10M");
  must("qemu-io " + secret + kWrites + luks + "a.qcow2 >/dev/null");
  must("qemu-img convert " + secret + luks + "a.qcow2 -O raw plain");
  EXPECT_EQ(tool("convert " + secret + luks + "a.qcow2 -O raw out").code, 0);
  must("cmp plain out");
  const Said said = tool("convert " + secret +
                         "-f raw -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s,"
                         "encrypt.iter-time=10 plain b.qcow2");
  EXPECT_EQ(said.code, 0) << said.err;
  EXPECT_EQ(must("qemu-img compare " + secret +
                 "--image-opts driver=raw,file.filename=plain "
                 "driver=qcow2,encrypt.key-secret=s,file.filename=b.qcow2"),
            "Images are identical.\n");
  must("qemu-img check -q " + secret + luks + "b.qcow2");
}

TEST_F(Convert, AnInternalSnapshot) {
  must("qemu-img create -q -f qcow2 a.qcow2 10M");
  must(std::string("qemu-io a.qcow2 >/dev/null") + kWrites);
  must(
      "qemu-img snapshot -c then a.qcow2 && qemu-io a.qcow2 -c 'write -P 9 0 "
      "9M' >/dev/null");
  expect_same_file("-l then -O qcow2 a.qcow2 DST");
  expect_same_file("-l snapshot.name=then -O raw a.qcow2 DST");
  expect_same_file("-O qcow2 a.qcow2 DST");
  EXPECT_EQ(tool("convert -l never -O raw a.qcow2 b").code, 1);
}

TEST_F(Convert, WithADataFile) {
  must("truncate -s 10M a.raw");
  must(std::string("qemu-io -f raw a.raw >/dev/null") + kWrites);
  for (const char* raw : {"", ",data_file_raw=on"}) {
    must("qemu-img convert -f raw -O qcow2 -o data_file=theirs.data" + std::string(raw) +
         " a.raw theirs");
    const Said said =
        tool("convert -f raw -O qcow2 -o data_file=our.data" + std::string(raw) + " a.raw ours");
    EXPECT_EQ(said.code, 0) << said.err;
    EXPECT_EQ(must("cmp theirs.data our.data && qemu-img compare -f qcow2 -F "
                   "raw ours a.raw"),
              "Images are identical.\n");
    must("rm theirs ours theirs.data our.data");
  }
  EXPECT_EQ(must("ls -A"), "a.raw\n");
}

TEST_F(Convert, Bitmaps) {
  must("qemu-img create -q -f qcow2 a.qcow2 10M");
  must(
      "qemu-img bitmap --add a.qcow2 b0 && qemu-img bitmap --add --disable -g "
      "512 a.qcow2 b1");
  must(std::string("qemu-io a.qcow2 >/dev/null") + kWrites);
  must("qemu-img bitmap --add a.qcow2 b2");
  expect_same_file("--bitmaps -O qcow2 a.qcow2 DST");
  EXPECT_EQ(tool("convert --bitmaps -O raw a.qcow2 b").code, 1);
}

}  // namespace
}  // namespace sim::tool
