// io beside qemu-io: what it says, what it returns, what it writes.

#include <gmock/gmock.h>

#include <regex>

#include "sim/base/json.h"
#include "sim/tool/io_text.h"
#include "sim/tool/tool_run.h"

namespace sim::tool {
namespace {

// Without what varies: times and rates.
std::string steady(const std::string& text) {
  static const std::regex rates("; [^\n]*ops/sec\\)");
  static const std::regex fields(",1,0:00:00[^\n]*");
  return std::regex_replace(std::regex_replace(text, rates, ""), fields, "");
}

class Io : public testing::BesideQemu {
 protected:
  // Both on files made by `script`; standard output, exit code and files are to be the same.
  void expect_same(const std::string& script, const std::vector<std::string>& commands,
                   const std::string& options = "image") {
    must("rm -rf theirs ours && mkdir theirs ours");
    must("cd theirs && " + script);
    must("cd ours && " + script);
    std::string line = options;
    for (const std::string& command : commands) line += " -c '" + command + "'";
    const auto theirs = qcow2::testing::run_command(
        "cd " + directory_.path() + "/theirs && (qemu-io " + line + " 2>/dev/null)");
    const auto said = testing::run_image(files_, directory_ / "ours", "io " + line);
    EXPECT_EQ(steady(said.out), steady(theirs.output)) << line << said.err;
    EXPECT_EQ(said.code, theirs.status) << line << said.err;
    EXPECT_EQ(must("diff -r theirs ours && echo same"), "same\n") << line;
  }
};

constexpr const char* kImage = "qemu-img create -q -f qcow2 image 4M";

TEST_F(Io, WritesAndReads) {
  expect_same(kImage, {"write -P 1 0 64k",
                       "read -P 1 0 64k",
                       "read -P 2 0 64k",
                       "read -v 0 64",
                       "write -z 64k 64k",
                       "write -zu 64k 4k",
                       "discard 0 64k",
                       "flush",
                       "length",
                       "truncate 8M",
                       "length",
                       "map",
                       "alloc 0",
                       "alloc 0 4M",
                       "alloc 16M",
                       "alloc 0 16M",
                       "write -q 0 64k",
                       "read 100 512",
                       "read -v 1 20",
                       "writev -P 4 0 512 1k",
                       "readv 0 512 512",
                       "read -P 4 -s 512 -l 512 0 2k",
                       "read -P 5 -s 512 0 1k",
                       "write -s nothing 0 512",
                       "read -vC 0 16",
                       "write -C 0 512",
                       "read 0 0",
                       "write -f 512 512",
                       "discard -C 0 64k",
                       "write 0x200 1.5k"});
}

TEST_F(Io, RefusesInTheSameWords) {
  for (const char* command : {"read 0 abc",
                              "read abc 0",
                              "read -P x 0 512",
                              "read -P 0x1ff 0 512",
                              "read -l 512 0 512",
                              "read -P 1 -l 1024 0 512",
                              "read -P 1 -l 256 -s 256 0 512",
                              "read -Z 0 512",
                              "read 0 3G",
                              "read -1 512",
                              "read",
                              "read 0",
                              "read 0 1 2",
                              "write 0 3G",
                              "write -z -P 1 0 512",
                              "write -u 0 512",
                              "write -n 0 512",
                              "write -b -z 0 512",
                              "write -s pat -P 1 0 16",
                              "write -c 1000 64k",
                              "writev -P 7 0",
                              "writev 0 abc",
                              "readv -P 1 0 16",
                              "discard 0",
                              "discard 8M 64k",
                              "discard 0 3G",
                              "flush 1",
                              "truncate",
                              "truncate x",
                              "truncate -m foo 8M",
                              "alloc",
                              "alloc 0 0",
                              "alloc x",
                              "map x",
                              "open",
                              "open image",
                              "sleep",
                              "sleep 1",
                              "sleep x",
                              "foo",
                              "",
                              "  read   0   512  ",
                              "read 16M 512",
                              "read 4194303 2",
                              "write 4M 512",
                              "help foo",
                              "aio_read 16M 512",
                              "aio_read -P 7 0 512",
                              "aio_write -u 0 512",
                              "aio_write -i 0 512",
                              "read -b 0 500"})
    expect_same(kImage, {command});
}

TEST_F(Io, Sessions) {
  expect_same(kImage, {"close", "read 0 512", "open image", "read 0 512", "write 0 512"});
  expect_same(kImage, {"reopen -r", "write 0 512", "reopen -w", "write 0 512", "reopen"});
  expect_same(kImage, {"write 0 512", "quit", "read 0 512"});
  expect_same(kImage, {"r 0 512", "w 0 512", "d 0 512", "f", "l", "s", "c"});
  expect_same(kImage, {"write 0 512"}, "-r image");
  expect_same(kImage, {"write -P 1 0 512", "read -P 1 0 512"}, "-s image");
  expect_same("truncate -s 1M image",
              {"info", "alloc 0 1M", "map", "write -c 0 64k", "write 1M 512", "read 900k 200k",
               "write 100 200", "read -v 90 30"},
              "-f raw image");
  expect_same(kImage, {"length"}, "-f foo image");
  expect_same(kImage, {"length"}, "nothing");
  expect_same(kImage, {"aio_write -P 5 64k 64k", "aio_flush", "aio_read -P 5 64k 64k", "aio_flush",
                       "aio_read -v 0 16", "aio_flush"});
}

TEST_F(Io, Sizes) {
  EXPECT_EQ(io_size(0), "0 bytes");
  EXPECT_EQ(io_size(1023), "1023 bytes");
  EXPECT_EQ(io_size(65536), "64 KiB");
  EXPECT_EQ(io_size(1536), "1.500 KiB");
  EXPECT_EQ(io_size(1124), "1.098 KiB");
  EXPECT_EQ(io_size(4063232), "3.875 MiB");
  EXPECT_EQ(io_size(std::uint64_t{1} << 60), "1 EiB");
}

}  // namespace
}  // namespace sim::tool
