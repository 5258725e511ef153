// Images that somebody uses: QEMU's locks hold against the tool, and the tool's against QEMU.

#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <regex>
#include <string>

#include "sim/image/open.h"
#include "sim/tool/tool_run.h"

namespace sim::tool::testing {
namespace {

// A qemu-io that has an image open for as long as the object lives.
class User {
 public:
  User(const std::string& directory, const std::string& options, const std::string& image)
      : directory_(directory) {
    const std::string command = "cd " + directory +
                                " && rm -f go && mkfifo go && (echo length; cat go) | " +
                                "qemu-io " + options + " " + image + " 2>&1";
    pipe_ = ::popen(command.c_str(), "r");
    std::string seen;
    for (int c = 0; pipe_ != nullptr && (c = std::fgetc(pipe_)) != EOF;) {
      seen += static_cast<char>(c);
      if (seen.find("MiB") != std::string::npos) return;  // what `length` says: it is open
    }
    ADD_FAILURE() << seen;
  }
  ~User() {
    qcow2::testing::run_command("echo quit >" + directory_ + "/go");
    if (pipe_ != nullptr) ::pclose(pipe_);
  }
  User(const User&) = delete;
  User& operator=(const User&) = delete;

 private:
  std::string directory_;
  std::FILE* pipe_ = nullptr;
};

class Locks : public BesideQemu {
 protected:
  void SetUp() override {
    BesideQemu::SetUp();
    must("qemu-img create -q -f qcow2 a 1M && qemu-img create -q -f qcow2 -b a -F qcow2 top");
    must(
        "qemu-img create -q -f raw r 1M && truncate -s 1M other && qemu-img create -q -f qcow2 "
        "-o data_file=d x 1M");
  }

  // The same code and, in one line, the same words of both; says whether it was done.
  bool alike(const std::string& command) {
    SCOPED_TRACE(command);
    const auto theirs =
        qcow2::testing::run_command("cd " + directory_.path() + " && qemu-img " + command);
    const Said said = tool(command);
    EXPECT_EQ(said.code, theirs.status) << said.err << theirs.output;
    if (theirs.status == 0) return true;
    const std::size_t words = theirs.output.find("qemu-img: ");
    std::string expected = theirs.output.substr(words == std::string::npos ? 0 : words);
    expected = std::regex_replace(expected, std::regex("qemu-img: "), "understudy image: ");
    expected = std::regex_replace(expected, std::regex("\nIs another"), "; Is another");
    EXPECT_EQ(said.err, expected);
    return false;
  }
};

TEST_F(Locks, AnImageThatIsWrittenIsLeftAlone) {
  const User user(directory_.path(), "-f qcow2", "a");
  const std::string before = must("sha256sum a"), files = must("ls -A");
  for (const char* command :
       {"info a", "info --output=json a", "check a", "map a", "measure -O qcow2 a", "compare r a",
        "snapshot -l a", "snapshot -c s a", "resize a 2M", "rebase -u -b '' a", "bitmap --add a b",
        "amend -o lazy_refcounts=on a", "convert -n -O qcow2 r a", "create -q -f qcow2 a 1M",
        "check -r all a", "map top", "check top", "dd if=a of=new bs=64k"})
    EXPECT_FALSE(alike(command)) << command;
  EXPECT_EQ(must("sha256sum a"), before);
  // Who does not care may look.
  for (const char* command : {"info top", "info -U a", "check -U a", "map -U a",
                              "measure -U -O qcow2 a", "compare -U r a", "snapshot -U -l a"})
    EXPECT_TRUE(alike(command)) << command;
  EXPECT_NE(tool("convert -O qcow2 r a").code, 0);
  EXPECT_NE(tool("commit top").code, 0);
  EXPECT_NE(tool("info --backing-chain top").code, 0);
  EXPECT_NE(tool("dump a").code, 0);
  EXPECT_EQ(tool("dump -U a").code, 0);
  EXPECT_EQ(must("sha256sum a"), before);
  EXPECT_EQ(must("ls -A"), files);
}

TEST_F(Locks, AnImageThatIsReadMayBeRead) {
  const User user(directory_.path(), "-r -f qcow2", "top");
  for (const char* command : {"info top", "check top", "map top", "map a", "convert -O raw top o"})
    EXPECT_TRUE(alike(command)) << command;
  for (const char* command : {"resize top 2M", "snapshot -c s top", "check -r all top"})
    EXPECT_FALSE(alike(command)) << command;
}

TEST_F(Locks, RawFilesAndDataFiles) {
  {
    const User user(directory_.path(), "-f raw", "r");
    for (const char* command : {"info -f raw r", "map -f raw r", "compare -f raw -F raw r other"})
      EXPECT_TRUE(alike(command)) << command;
  }
  const User user(directory_.path(), "-f qcow2", "x");
  EXPECT_FALSE(alike("map x"));
  EXPECT_FALSE(alike("resize -f raw d 2M"));
}

TEST_F(Locks, QemuRespectsOurs) {
  World world(1);
  const image::Context context{world, files_, directory_.path(), {}, {}};
  auto layer = run(world, image::open_chain(context, {.filename = "top", .writable = true}));
  ASSERT_TRUE(layer.ok()) << layer.error().desc;
  const auto theirs = [&](const std::string& command) {
    return qcow2::testing::run_command("cd " + directory_.path() + " && " + command).status;
  };
  EXPECT_NE(theirs("qemu-img info top"), 0);
  EXPECT_NE(theirs("qemu-img check top"), 0);
  EXPECT_NE(theirs("qemu-io -c 'write 0 512' top"), 0);
  EXPECT_EQ(theirs("qemu-img info -U top"), 0);
  EXPECT_EQ(theirs("qemu-img map a"), 0);  // it is read by both
  ASSERT_TRUE(run(world, (*layer)->close()).ok());
  layer->reset();
  EXPECT_EQ(theirs("qemu-img check top"), 0);

  layer = run(world, image::open_chain(context, {.filename = "top"}));
  ASSERT_TRUE(layer.ok()) << layer.error().desc;
  EXPECT_EQ(theirs("qemu-img check top"), 0);
  EXPECT_NE(theirs("qemu-io -c 'write 0 512' top"), 0);
}

}  // namespace
}  // namespace sim::tool::testing
