// blockdev-add's refusals, in the words of QEMU 7.2 (measured), and what leaves nothing behind.

#include "sim/driver/open.h"

#include <gtest/gtest.h>

#include "sim/qcow2/create.h"
#include "sim/storage/memory.h"

namespace sim::driver {
namespace {

class OpenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    make("/good", 0, 0);
    make("/version", 7, 9);
    make("/cluster", 23, 60);
    make("/feature", 79, 0x40);
    make("/corrupt", 79, 0x02);
    put("/junk", std::vector<std::byte>(11264, std::byte{'h'}));
    put("/empty", {});
    std::vector<std::byte> good = bytes_of("/good");
    good.resize(50);
    put("/short", good);
  }

  void put(const std::string& path, const std::vector<std::byte>& bytes) {
    ASSERT_TRUE(files_.create(path));
    files_.find(path)->write_now(0, bytes);
  }
  std::vector<std::byte> bytes_of(const std::string& path) {
    std::vector<std::byte> bytes(files_.find(path)->size());
    files_.find(path)->read_now(0, bytes);
    return bytes;
  }
  // A qcow2 image of 1 MiB with one byte of its header changed, if `value` is not 0.
  void make(const std::string& path, std::uint64_t offset, unsigned value) {
    auto file = files_.create(path);
    ASSERT_TRUE(file);
    qcow2::CreateOptions options;
    options.size = 1_MiB;
    ASSERT_TRUE(run(world_, qcow2::create(**file, options)));
    const std::byte byte{static_cast<unsigned char>(value)};
    if (value != 0) files_.find(path)->write_now(offset, std::span(&byte, 1));
  }

  Result<block::NodePtr> open(const Json& options) {
    auto opened = run(world_, open_node(graph_, options, true));
    if (opened) (*opened)->monitor_owned = true;
    world_.scheduler.spawn(graph_.collect());
    return opened;
  }
  std::string refusal(const Json& options) {
    const auto nodes = graph_.all().size();
    const auto opened = open(options);
    EXPECT_FALSE(opened) << options;
    EXPECT_EQ(graph_.all().size(), nodes) << "something was left behind by " << options;
    return opened ? "" : opened.error().desc;
  }
  static Json file(const std::string& path) { return {{"driver", "file"}, {"filename", path}}; }
  std::string refused_image(const std::string& path) {
    return refusal({{"driver", "qcow2"}, {"node-name", "a"}, {"file", file(path)}});
  }

  storage::MemoryFiles files_;
  World world_{1};
  block::Graph graph_{world_, files_, *find_profile("7.2")};
};

TEST_F(OpenTest, WhatQemuHasAndWeHaveNotIsRefusedByName) {
  EXPECT_EQ(refusal({{"driver", "nbd"}, {"node-name", "a"}}),
            "understudy: driver 'nbd' is not in this version");
  EXPECT_EQ(refusal({{"driver", "nope"}, {"node-name", "a"}}), "Unknown driver 'nope'");
  EXPECT_EQ(
      refusal(
          {{"driver", "file"}, {"node-name", "a"}, {"filename", "/good"}, {"pr-manager", "pr0"}}),
      "understudy: option 'pr-manager' of driver 'file' is not in this version");
}

TEST_F(OpenTest, NamesAreChecked) {
  const auto named = [&](const Json& name) {
    return refusal({{"driver", "file"}, {"node-name", name}, {"filename", "/good"}});
  };
  for (const char* name : {"1bad", "", "-x", "a b", "#x", "a/b", "\u00e9"})
    EXPECT_EQ(named(name), "Invalid node-name: '" + std::string(name) + "'");
  EXPECT_EQ(named(std::string(32, 'y')), "Node name too long");
  EXPECT_EQ(refusal(file("/good")), "'node-name' must be specified for the root node");
  ASSERT_TRUE(
      open({{"driver", "file"}, {"node-name", std::string(31, 'x')}, {"filename", "/good"}}));
  EXPECT_EQ(named(std::string(31, 'x')),
            "Duplicate nodes with node-name='" + std::string(31, 'x') + "'");
}

TEST_F(OpenTest, FilesThatAreNotThereOrNoImages) {
  EXPECT_EQ(refusal({{"driver", "file"}, {"node-name", "a"}, {"filename", "/none"}}),
            "Could not open '/none': No such file or directory");
  EXPECT_EQ(refused_image("/junk"), "Image is not in qcow2 format");
  EXPECT_EQ(refused_image("/empty"), "Image is not in qcow2 format");
  EXPECT_EQ(refused_image("/short"), "qcow2 header too short");
  EXPECT_EQ(refused_image("/version"), "Unsupported qcow2 version 9");
  EXPECT_EQ(refused_image("/cluster"), "Unsupported cluster size: 2^60");
  EXPECT_EQ(refused_image("/feature"),
            "Unsupported qcow2 feature(s): Unknown incompatible feature: 40");
  EXPECT_EQ(refused_image("/corrupt"), "qcow2: Image is corrupt; cannot be opened read/write");
}

TEST_F(OpenTest, RawStretchesAreChecked) {
  const auto raw = [&](const char* option, std::uint64_t value) {
    return refusal(
        {{"driver", "raw"}, {"node-name", "r"}, {"file", file("/junk")}, {option, value}});
  };
  EXPECT_EQ(raw("size", 100), "Specified size is not multiple of 512");
  EXPECT_EQ(raw("offset", 99999999),
            "Offset (99999999) cannot be greater than size of the containing file (11264)");
}

TEST_F(OpenTest, ReferencesAndBackingFiles) {
  EXPECT_EQ(refusal({{"driver", "qcow2"}, {"node-name", "a"}, {"file", "nope"}}),
            "Cannot find device='nope' nor node-name='nope'");
  EXPECT_EQ(
      refusal(
          {{"driver", "qcow2"}, {"node-name", "a"}, {"file", file("/good")}, {"backing", "nope"}}),
      "Could not open backing file: Cannot find device='nope' nor node-name='nope'");
}

TEST_F(OpenTest, OneWriterOfAFile) {
  ASSERT_TRUE(open({{"driver", "qcow2"}, {"node-name", "w"}, {"file", file("/good")}}));
  EXPECT_EQ(refused_image("/good"), "Failed to get \"write\" lock");
  EXPECT_EQ(
      refusal(
          {{"driver", "qcow2"}, {"node-name", "r"}, {"file", file("/good")}, {"read-only", true}}),
      "Failed to get shared \"write\" lock");
}

TEST_F(OpenTest, ManyReadersOfAFile) {
  for (const char* name : {"a", "b"})
    EXPECT_TRUE(open(
        {{"driver", "qcow2"}, {"node-name", name}, {"file", file("/good")}, {"read-only", true}}));
}

// Read-only users do not lock each other out.
TEST_F(OpenTest, AnImageThatIsItsOwnBackingFileIsRefused) {
  auto file = files_.create("/circle");
  ASSERT_TRUE(file);
  ASSERT_TRUE(run(
      world_, qcow2::create(
                  **file, {.size = 1_MiB, .backing_file = "/circle", .backing_format = "qcow2"})));
  const std::string text = refusal({{"driver", "qcow2"},
                                    {"node-name", "n"},
                                    {"read-only", true},
                                    {"file", {{"driver", "file"}, {"filename", "/circle"}}}});
  EXPECT_TRUE(text.starts_with("Could not open backing file: Could not open backing file: "));
  EXPECT_TRUE(text.ends_with(": Could not open '/circle': Too many open files"))
      << text.substr(text.size() - 100);
}

}  // namespace
}  // namespace sim::driver
