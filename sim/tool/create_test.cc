// create, resize and amend beside qemu-img: what they say, and the files.

#include <fmt/format.h>

#include <filesystem>

#include "sim/base/text.h"
#include "sim/tool/tool_run.h"

namespace sim::tool::testing {
namespace {

class Making : public BesideQemu {
 protected:
  // Runs `command` by both on `x`, the tool in a copy of what is there; expects the same output,
  // code and file.
  void expect_same_file(const std::string& command, const std::string& prepare = "true") {
    SCOPED_TRACE(command);
    must("rm -rf theirs ours && mkdir theirs && cd theirs && " + prepare +
         " && cd .. && cp -r --sparse=always theirs ours");
    const auto theirs =
        qcow2::testing::run_command("cd " + directory_.path() + "/theirs && qemu-img " + command);
    const Said said = run_image(files_, directory_.path() + "/ours", command);
    EXPECT_EQ(said.code, theirs.status) << said.err;
    const std::string name = "qemu-img";
    std::string expected = theirs.output;
    if (theirs.status == 0) {
      EXPECT_EQ(said.out, expected);
    } else {  // what is more than a line ours has behind a semicolon
      const std::size_t at = expected.find(name);
      ASSERT_NE(at, std::string::npos) << expected;
      EXPECT_EQ(said.out, expected.substr(0, at));
      expected = expected.substr(at + name.size());
      const std::string first = "understudy image" + expected.substr(0, expected.find('\n'));
      EXPECT_EQ(said.err.substr(0, first.size()), first);
      EXPECT_TRUE(said.err.substr(first.size()).starts_with("\n") ||
                  said.err.substr(first.size()).starts_with("; "))
          << said.err;
    }
    EXPECT_EQ(must("diff -rq theirs ours || true"), "");
  }
};

TEST_F(Making, CreateIsQemus) {
  for (const char* command :
       {"create -f qcow2 x 64M", "create -q -f qcow2 x 1.5G", "create x 1000",
        "create -f raw -o preallocation=falloc x 1M", "create -f raw -o preallocation=full x 1M",
        "create -f qcow2 -o size=1M,cluster_size=4k x", "create -f qcow2 x 0",
        "create -f qcow2 -o cluster_size=4k -o compat=0.10 x 1M",
        "create -f qcow2 -u -b 'a,b' -F raw x 1M",
        "create -f qcow2 -o backing_file=a,,b -u -F raw x 1M",
        "create -f qcow2 -o lazy_refcounts,extended_l2=on,compression_type=zstd x 1M",
        "create -f qcow2 -o data_file=d,nocow=off x 1M",
        "create -f qcow2 -o preallocation=metadata,refcount_bits=8 x 3M",
        "create --object secret,id=s,data=abc -f qcow2 -o encrypt.format=aes,encrypt.key-secret=s "
        "x 1M"})
    expect_same_file(command);
  const std::string base = "qemu-img create -q -f raw b 3M && mkdir sub && cp b sub/bb";
  for (const char* command :
       {"create -f qcow2 -b b -F raw x", "create -f qcow2 -b b -F raw x 1M",
        "create -f qcow2 -b bb -F raw sub/x", "create -f qcow2 -o backing_file=b,backing_fmt=raw x",
        "create -f qcow2 b 1M"})
    expect_same_file(command, base);
}

TEST_F(Making, CreateRefusesAsQemuDoes) {
  for (const char* command : {"create",
                              "create -f qcow2 x",
                              "create -f qcow2 x 1M 2M",
                              "create -f qcow2 -o foo=1 x 1M",
                              "create -f qcow2 -o size=1M x 2M",
                              "create -f vmdkk x 1M",
                              "create -f qcow2 a:b 1M",
                              "create -f qcow2 -o cluster_size=1000 x 1M",
                              "create -f qcow2 -o cluster_size=foo x 1M",
                              "create -f qcow2 -o lazy_refcounts=foo x 1M",
                              "create -f qcow2 -o refcount_bits=foo x 1M",
                              "create -f qcow2 -o refcount_bits=3 x 1M",
                              "create -f qcow2 -o compat=0.20 x 1M",
                              "create -f qcow2 -o preallocation=foo x 1M",
                              "create -f qcow2 x 8E",
                              "create -f qcow2 -o cluster_size=512 x 1T",
                              "create -f qcow2 x 9223372036854775807",
                              "create -f qcow2 -b b x 1M -u",
                              "create -f qcow2 -b nope -F raw x",
                              "create -f raw -b b x 1M",
                              "create -f qcow2 -b x -F qcow2 x 1M",
                              "create -f qcow2 -o encrypt.format=luks x 1M",
                              "create -f qcow2 -b '' -F raw x 1M",
                              "create -f qcow2 no/such/x 1M",
                              "create -f qcow2 -F raw x 1M"})
    expect_same_file(command);
  // QEMU leaves an empty file behind; here there is all or nothing.
  const auto theirs = qcow2::testing::run_command(
      "cd " + directory_.path() + " && qemu-img create -f raw -o preallocation=metadata y 1M");
  const Said said = tool("create -f raw -o preallocation=metadata x 1M");
  EXPECT_EQ(said.code, theirs.status);
  EXPECT_EQ(replace_all(said.out + said.err, "understudy image: x", "qemu-img: y"),
            replace_all(theirs.output, "'y'", "'x'"));
  must("rm y");
  // What is there stays as it is.
  must("qemu-img create -q -f qcow2 kept 1M && cp kept copy");
  EXPECT_EQ(tool("create -f qcow2 -o cluster_size=512 kept 1T").code, 1);
  must("cmp kept copy");
  EXPECT_EQ(must("ls -A"), "copy\nkept\nours\ntheirs\n");
}

TEST_F(Making, CreateStaysWithinItsDirectory) {
  must("mkdir sub && qemu-img create -q -f qcow2 base 1M");
  const Said said = tool("create -f qcow2 -b ../base -F qcow2 sub/x");
  EXPECT_EQ(said.code, 1);
  EXPECT_NE(said.err.find("--allow-outside"), std::string::npos) << said.err;
  EXPECT_EQ(tool("create --allow-outside -f qcow2 -b ../base -F qcow2 sub/x").code, 0);
}

TEST_F(Making, HelpIsQemus) {
  for (const char* command : {"create -f qcow2 -o help", "create -f qcow2 -o help x",
                              "create -f raw -o help", "create -o '?' x", "amend -f qcow2 -o help"})
    expect_same(command);
}

TEST_F(Making, ResizeIsQemus) {
  const std::string image = "qemu-img create -q -f qcow2 x 1M";
  for (const char* command : {"resize x 2M",
                              "resize -f qcow2 x +1M",
                              "resize -q x 2M",
                              "resize --shrink x 512k",
                              "resize --shrink x -512k",
                              "resize -f qcow2 --preallocation=metadata x 5M",
                              "resize x 512k",
                              "resize x -1M",
                              "resize x 2000000",
                              "resize x 0",
                              "resize x =3",
                              "resize x",
                              "resize",
                              "resize x y z",
                              "resize x 20E",
                              "resize x 8E",
                              "resize x 2E",
                              "resize --preallocation=foo x 5M",
                              "resize --shrink --preallocation=full x 512k",
                              "resize nope 1M"})
    expect_same_file(command, image);
  for (const char* command :
       {"resize -f raw x 1M", "resize -f raw --shrink x 100", "resize -f raw x 100",
        "resize -f raw --preallocation=full x 1M", "resize -f raw --preallocation=metadata x 2M"})
    expect_same_file(command, "truncate -s 5000 x");
  expect_same_file(
      "resize -f qcow2 x 3M",
      "qemu-img create -q -f raw b 2M && qemu-img create -q -f qcow2 -b b -F raw x 1M");
}

TEST_F(Making, AmendIsQemus) {
  const std::string image = "qemu-img create -q -f qcow2 x 1M";
  for (const char* command :
       {"amend -o compat=0.10 x", "amend -f qcow2 -o refcount_bits=64,lazy_refcounts=on x",
        "amend -o size=2M x", "amend -o size=0 x", "amend x", "amend -o compat=1.1",
        "amend -o compat=foo x", "amend -o refcount_bits=3 x", "amend -o cluster_size=4k x",
        "amend -o foo=bar x", "amend -o backing_file=b x", "amend -o data_file=d x",
        "amend -o encrypt.state=active x", "amend -o lazy_refcounts=foo x",
        "amend -f raw -o size=3M x", "amend -o compat=1.1 x y"})
    expect_same_file(command, image);
}

TEST_F(Making, KeysAreAmended) {
  const std::string secrets = "--object secret,id=s,data=abc --object secret,id=n,data=new ";
  const auto opened_by = [&](const std::string& id) {
    return " --image-opts driver=qcow2,file.filename=x,encrypt.key-secret=" + id;
  };
  EXPECT_EQ(
      tool("create -q " + secrets + "-f qcow2 -o encrypt.format=luks,encrypt.key-secret=s x 1M")
          .code,
      0);
  const Said added =
      tool("amend " + secrets + "-o encrypt.state=active,encrypt.new-secret=n" + opened_by("s"));
  EXPECT_EQ(added.code, 0) << added.err;
  must("qemu-io " + secrets + "-c 'read 0 64k'" + opened_by("n"));
  const Said erased =
      tool("amend " + secrets + "-o encrypt.state=inactive,encrypt.old-secret=s" + opened_by("n"));
  EXPECT_EQ(erased.code, 0) << erased.err;
  EXPECT_NE(qcow2::testing::run_command("cd " + directory_.path() + " && qemu-io " + secrets +
                                        "-c 'read 0 64k'" + opened_by("s"))
                .status,
            0);
  for (const char* options :
       {"encrypt.new-secret=n", "encrypt.state=active", "encrypt.state=foo,encrypt.new-secret=n",
        "encrypt.state=inactive,encrypt.old-secret=zz", "encrypt.state=inactive"}) {
    const std::string command = "amend " + secrets + "-o " + options + opened_by("n");
    const auto theirs =
        qcow2::testing::run_command("cd " + directory_.path() + " && qemu-img " + command);
    const Said said = tool(command);
    EXPECT_EQ(said.code, theirs.status) << options;
    EXPECT_EQ(said.err, "understudy image" + theirs.output.substr(std::string("qemu-img").size()))
        << options;
  }
}

}  // namespace
}  // namespace sim::tool::testing
