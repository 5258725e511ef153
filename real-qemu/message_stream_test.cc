#include "real-qemu/message_stream.h"

#include <gtest/gtest.h>

#include <string>

namespace real_qemu {
namespace {

TEST(MessageStream, OneByteAtATime) {
  const std::string text = "\r\n {\"a\": \"}\\\"{\", \"b\": [1, {\"c\": \"\\\\\"}]}\r\n";
  MessageStream stream;
  int taken = 0;
  for (const char c : text) {
    stream.feed({&c, 1});
    if (auto message = stream.take()) {
      ++taken;
      EXPECT_EQ(*message, R"({"a": "}\"{", "b": [1, {"c": "\\"}]})");
    }
  }
  EXPECT_EQ(taken, 1);
  EXPECT_FALSE(stream.broken());
}

TEST(MessageStream, SeveralAtOnce) {
  MessageStream stream;
  stream.feed("{\"a\":1}\r\n{\"b\":2}{\"c\"");
  EXPECT_EQ(stream.take(), R"({"a":1})");
  EXPECT_EQ(stream.take(), R"({"b":2})");
  EXPECT_EQ(stream.take(), std::nullopt);
  stream.feed(":3}");
  EXPECT_EQ(stream.take(), R"({"c":3})");
  EXPECT_EQ(stream.take(), std::nullopt);
}

TEST(MessageStream, RefusesWhatIsNoObject) {
  MessageStream stream;
  stream.feed("{\"a\":1} Segmentation fault");
  EXPECT_EQ(stream.take(), R"({"a":1})");
  EXPECT_EQ(stream.take(), std::nullopt);
  EXPECT_TRUE(stream.broken());
}

TEST(MessageStream, RefusesBottomlessNesting) {
  MessageStream stream;
  stream.feed("{\"a\":" + std::string(1023, '['));
  EXPECT_EQ(stream.take(), std::nullopt);
  EXPECT_FALSE(stream.broken());
  stream.feed("[");
  EXPECT_EQ(stream.take(), std::nullopt);
  EXPECT_TRUE(stream.broken());
}

}  // namespace
}  // namespace real_qemu
