// The simulator as a target: its port Files keeps the contract of conformance/target/files.h, and
// sessions have nothing to do with one another.

#include "conformance/run/sim_target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "conformance/run/scenarios_for_test.h"

namespace conformance {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class SimFiles : public ::testing::Test {
 protected:
  Files& files() { return session_->files(); }
  std::string path(const std::string& name) { return files().directory() + "/" + name; }
  std::vector<std::byte> read(const std::string& name, std::uint64_t offset, std::size_t length) {
    std::vector<std::byte> bytes(length, std::byte{0xee});
    EXPECT_TRUE(files().read(path(name), offset, bytes));
    return bytes;
  }

  SimTarget target_ = testing::simulator();
  std::unique_ptr<Session> session_ = *target_.open({});
};

TEST_F(SimFiles, TheDirectoryIsAbsoluteAndEmpty) {
  EXPECT_EQ(files().directory().front(), '/');
  EXPECT_NE(files().directory().back(), '/');
  EXPECT_THAT(files().names(), IsEmpty());
}

TEST_F(SimFiles, CreateMakesZeroesAndReplaces) {
  ASSERT_TRUE(files().create(path("b"), 10'000));
  ASSERT_TRUE(files().create(path("a"), 0));
  EXPECT_THAT(files().names(), ElementsAre("a", "b")) << "sorted";
  EXPECT_EQ(files().size(path("a")), 0U);
  EXPECT_EQ(files().size(path("b")), 10'000U);
  EXPECT_THAT(read("b", 0, 10'000), Each(std::byte{0}));
  const std::vector<std::byte> bytes(100, std::byte{7});
  ASSERT_TRUE(files().write(path("b"), 500, bytes));
  ASSERT_TRUE(files().create(path("b"), 600));
  EXPECT_EQ(files().size(path("b")), 600U);
  EXPECT_THAT(read("b", 0, 600), Each(std::byte{0})) << "nothing is left of the file before";
}

TEST_F(SimFiles, WritingGrowsAndReadingBeyondTheEndGivesZeroes) {
  ASSERT_TRUE(files().create(path("a"), 4));
  const std::vector<std::byte> bytes(3, std::byte{7});
  ASSERT_TRUE(files().write(path("a"), 6, bytes));
  EXPECT_EQ(files().size(path("a")), 9U);
  const auto seen = read("a", 5, 8);
  EXPECT_THAT(seen, ElementsAre(std::byte{0}, std::byte{7}, std::byte{7}, std::byte{7},
                                std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0}));
  ASSERT_TRUE(files().write(path("a"), 0, bytes));
  EXPECT_EQ(files().size(path("a")), 9U) << "overwriting does not truncate";
  EXPECT_THAT(read("a", 100, 4), Each(std::byte{0}));
}

TEST_F(SimFiles, WhatIsNotThereIsEnoent) {
  const std::string text = std::strerror(ENOENT);
  std::vector<std::byte> bytes(1);
  EXPECT_EQ(files().size(path("a")), std::nullopt);
  const auto read = files().read(path("a"), 0, bytes);
  const auto write = files().write(path("a"), 0, bytes);
  const auto remove = files().remove(path("a"));
  // There are no subdirectories, and none but the one.
  const auto below = files().create(path("sub/a"), 1);
  const auto elsewhere = files().create("/elsewhere/a", 1);
  for (const auto* result : {&read, &write, &remove, &below, &elsewhere}) {
    ASSERT_FALSE(*result);
    EXPECT_EQ(result->error().desc, text) << "the system's text, without the path";
  }
  EXPECT_THAT(files().names(), IsEmpty());
}

TEST_F(SimFiles, RemovedFilesAreGone) {
  ASSERT_TRUE(files().create(path("a"), 1));
  ASSERT_TRUE(files().create(path("b"), 1));
  ASSERT_TRUE(files().remove(path("a")));
  EXPECT_THAT(files().names(), ElementsAre("b"));
  EXPECT_EQ(files().size(path("a")), std::nullopt);
}

TEST_F(SimFiles, WhatWasRememberedTellsWhatHasChanged) {
  for (const std::string name : {"same", "written", "grown", "removed", "rewritten"})
    ASSERT_TRUE(files().create(path(name), 100'000));
  const std::vector<std::byte> data(10, std::byte{7});
  ASSERT_TRUE(files().write(path("rewritten"), 5000, data));
  const auto before = files().remember();
  ASSERT_NE(before, nullptr);
  ASSERT_TRUE(files().write(path("written"), 50'000, data));
  ASSERT_TRUE(files().write(path("grown"), 100'000, std::vector<std::byte>(1)));
  ASSERT_TRUE(files().remove(path("removed")));
  ASSERT_TRUE(files().write(path("rewritten"), 5000, data));
  ASSERT_TRUE(files().create(path("new"), 10));
  std::vector<std::string> changed;
  for (const std::string name : {"same", "written", "grown", "removed", "rewritten", "new"})
    if (before->has_changed(path(name))) changed.push_back(name);
  EXPECT_THAT(changed, ElementsAre("written", "grown", "removed"));
}

TEST_F(SimFiles, TheMachineSeesTheSameFiles) {
  ASSERT_TRUE(files().create(path("a"), 1 << 20));
  const auto add = session_->hypervisor().execute(
      "blockdev-add", {{"driver", "file"}, {"node-name", "n"}, {"filename", path("a")}});
  ASSERT_TRUE(add);
  EXPECT_EQ(*add, Json({{"return", Json::object()}})) << add->dump();
  const auto missing = session_->hypervisor().execute(
      "blockdev-add", {{"driver", "file"}, {"node-name", "m"}, {"filename", path("b")}});
  ASSERT_TRUE(missing);
  // QEMU 7.2: "Could not open '/…/b': No such file or directory".
  EXPECT_EQ((*missing)["error"]["desc"],
            "Could not open '" + path("b") + "': " + std::strerror(ENOENT));
}

TEST(SimTarget, SaysWhatItIs) {
  const SimTarget target = testing::simulator();
  EXPECT_EQ(target.name(), "sim:7.2");
  EXPECT_EQ(target.release(), "7.2");
  EXPECT_THAT(target.version(), HasSubstr("7.2."));
}

TEST(SimTarget, SessionsDoNotShareFiles) {
  SimTarget target = testing::simulator();
  const auto first = *target.open({}), second = *target.open({});
  ASSERT_TRUE(first->files().create(first->files().directory() + "/a", 1));
  EXPECT_THAT(second->files().names(), IsEmpty());
  EXPECT_EQ(second->files().size(first->files().directory() + "/a"), std::nullopt);
}

TEST(SimTarget, AnOpenSessionAnswersAndHasNoDisks) {
  SimTarget target = testing::simulator();
  const auto session = *target.open({});
  const auto blocks = session->hypervisor().execute("query-block", nullptr);
  ASSERT_TRUE(blocks);
  EXPECT_EQ(*blocks, Json({{"return", Json::array()}}));
  const auto event = session->hypervisor().poll_event();
  ASSERT_TRUE(event);
  EXPECT_FALSE(event->has_value());
}

TEST(SimTarget, TheTraceTellsWhatHappened) {
  SimTarget target = testing::simulator();
  const auto idle = *target.open({}), same = *target.open({}), busy = *target.open({});
  ASSERT_TRUE(busy->files().create(busy->files().directory() + "/a", 1 << 20));
  ASSERT_TRUE(busy->hypervisor().execute(
      "blockdev-add",
      {{"driver", "file"}, {"node-name", "n"}, {"filename", busy->files().directory() + "/a"}}));
  EXPECT_NE(idle->trace_hash(), 0U);
  EXPECT_EQ(idle->trace_hash(), same->trace_hash());
  EXPECT_NE(idle->trace_hash(), busy->trace_hash());
}

TEST(SimTarget, WaitingForAnEventThatDoesNotComeEnds) {
  SimTarget target = testing::simulator();
  const auto session = *target.open({});
  const auto event = session->hypervisor().next_event(std::chrono::hours(1));  // virtual time
  ASSERT_TRUE(event);
  EXPECT_FALSE(event->has_value());
}

}  // namespace
}  // namespace conformance
