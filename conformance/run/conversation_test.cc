#include "conformance/run/conversation.h"

#include <gtest/gtest.h>

namespace conformance {
namespace {

using Kind = TranscriptEntry::Kind;

// A pull by our layer on the simulator, shortened.
Executed ours() {
  Executed executed;
  executed.directory = "/ours";
  executed.transcript = {{Kind::command, "blockdev-add", {{"filename", "/ours/base"}}},
                         {Kind::reply, {}, {{"return", Json::object()}}},
                         {Kind::call, "blockPull", {{"disk", "vda"}}},
                         {Kind::command, "block-stream", {{"backing-file", "/ours/base"}}},
                         {Kind::reply, {}, {{"return", Json::object()}}},
                         {Kind::result, "blockPull", "success"},
                         {Kind::note, "BLOCK_JOB", "PULL COMPLETED"}};
  return executed;
}

// The same by libvirt, which starts a domain in its own way.
Executed theirs() {
  Executed executed = ours();
  executed.directory = "/theirs";
  executed.has_own_domain = true;
  executed.transcript.erase(executed.transcript.begin(), executed.transcript.begin() + 2);
  executed.transcript[1].content = {{"backing-file", "/theirs/base"}};
  return executed;
}

TEST(Conversation, IsComparedFromTheFirstCallOn) {
  EXPECT_TRUE(compare_conversations(ours(), theirs(), {}).empty());
  EXPECT_TRUE(compare_conversations(theirs(), ours(), {}).empty());
}

TEST(Conversation, DiffersInACommand) {
  Executed other = theirs();
  other.transcript[1].name = "block-commit";
  const auto found = compare_conversations(ours(), other, {});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found.front().requirement, "both targets are sent the same commands");
}

TEST(Conversation, DiffersInAnAnswerAndInEvents) {
  Executed other = theirs();
  other.transcript[3].content = "QEMU/INVALID_ARG";
  auto found = compare_conversations(ours(), other, {});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found.front().expected, "== blockPull \"success\"");
  other = theirs();
  other.transcript.pop_back();
  found = compare_conversations(ours(), other, {});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found.front().actual, "nothing more");
}

TEST(Conversation, OfTwoDomainsOfOursIsComparedWhole) {
  Executed other = theirs();
  other.has_own_domain = false;
  EXPECT_FALSE(compare_conversations(ours(), other, {}).empty());
}

}  // namespace
}  // namespace conformance
