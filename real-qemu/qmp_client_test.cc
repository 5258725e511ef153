#include "real-qemu/qmp_client.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <string>
#include <string_view>

namespace real_qemu {
namespace {

using std::chrono::milliseconds;

// QEMU 7.2.22's own.
constexpr std::string_view kGreeting =
    R"({"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, )"
    R"("package": "Debian 1:7.2+dfsg-7+deb12u18+b3"}, "capabilities": ["oob"]}})"
    "\r\n";

// The server's end: what it says is said before it is asked.
class QmpClientTest : public ::testing::Test {
 protected:
  QmpClientTest() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    server_ = Descriptor(ends[0]);
    client_.emplace(Descriptor(ends[1]), milliseconds(30), nullptr);
  }
  void say(std::string_view text) {
    EXPECT_EQ(::send(server_.get(), text.data(), text.size(), 0),
              static_cast<ssize_t>(text.size()));
  }
  std::string heard() {
    std::array<char, 4096> buffer{};
    const ssize_t got = ::recv(server_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    return {buffer.data(), got < 0 ? 0 : static_cast<std::size_t>(got)};
  }
  void negotiate() {
    say(kGreeting);
    say("{\"return\": {}, \"id\": 1}\r\n");
    ASSERT_TRUE(client_->negotiate(milliseconds(30)));
    heard();
  }

  Descriptor server_;
  std::optional<QmpClient> client_;
};

TEST_F(QmpClientTest, Negotiates) {
  say(kGreeting);
  say("{\"return\": {}, \"id\": 1}\r\n");
  ASSERT_TRUE(client_->negotiate(milliseconds(30)));
  EXPECT_EQ(client_->greeting()["version"]["qemu"]["micro"], 22);
  EXPECT_EQ(heard(), "{\"execute\":\"qmp_capabilities\",\"id\":1}");
}

TEST_F(QmpClientTest, QueuesEventsAroundAReplyAndMatchesIds) {
  negotiate();
  say("{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"STOP\"}\r\n"
      "{\"return\": 99, \"id\": 1}{\"return\": {\"a\": 1}, \"id\": 2}\r\n"
      "{\"event\": \"RESET\", \"data\": {\"guest\": false}, \"timestamp\": {}}\r\n{\"ev");
  auto reply = client_->execute("query-a", {{"x", 1}});
  ASSERT_TRUE(reply);
  EXPECT_EQ(*reply, Json::parse(R"({"return": {"a": 1}})"));
  EXPECT_EQ(heard(), "{\"arguments\":{\"x\":1},\"execute\":\"query-a\",\"id\":2}");
  auto first = client_->poll_event();
  ASSERT_TRUE(first && *first);
  EXPECT_EQ((*first)->name, "STOP");
  EXPECT_EQ((*first)->data, Json::object());
  auto second = client_->poll_event();
  ASSERT_TRUE(second && *second);
  EXPECT_EQ((*second)->data, Json::parse(R"({"guest": false})"));
  auto none = client_->next_event(milliseconds(1));
  ASSERT_TRUE(none);
  EXPECT_FALSE(*none);
  say("ent\": \"RESUME\"}");
  auto third = client_->poll_event();
  ASSERT_TRUE(third && *third);
  EXPECT_EQ((*third)->name, "RESUME");
}

TEST_F(QmpClientTest, AnErrorIsAReply) {
  negotiate();
  say(R"({"id": 2, "error": {"class": "CommandNotFound", )"
      R"("desc": "The command x has not been found"}})");
  auto reply = client_->execute("x", nullptr);
  ASSERT_TRUE(reply);
  EXPECT_EQ((*reply)["error"]["class"], "CommandNotFound");
}

TEST_F(QmpClientTest, SilenceIsAHang) {
  negotiate();
  auto reply = client_->execute("query-status", nullptr);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind, TargetFailure::Kind::hang);
  EXPECT_EQ(reply.error().detail, "no reply to query-status within 30 ms");
  say("{\"return\": {}, \"id\": 2}");
  EXPECT_FALSE(client_->execute("query-status", nullptr)) << "it stays failed";
}

TEST_F(QmpClientTest, AClosedConnectionIsACrash) {
  negotiate();
  say("{\"event\": \"STOP\"}");
  server_.close();
  EXPECT_TRUE(client_->poll_event()) << "what came before is still told";
  auto event = client_->next_event(milliseconds(1000));
  ASSERT_FALSE(event);
  EXPECT_EQ(event.error().kind, TargetFailure::Kind::crash);
  auto reply = client_->execute("query-status", nullptr);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind, TargetFailure::Kind::crash);
}

TEST_F(QmpClientTest, AfterQuitTheEndIsNoCrash) {
  negotiate();
  say("{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": false, \"reason\": \"host-qmp-quit\"}}\r\n"
      "{\"return\": {}, \"id\": 2}\r\n");
  ASSERT_TRUE(client_->execute("quit", nullptr));
  server_.close();
  auto event = client_->next_event(milliseconds(1000));
  ASSERT_TRUE(event && *event);
  EXPECT_EQ((*event)->name, "SHUTDOWN");
  event = client_->next_event(milliseconds(1000));
  ASSERT_TRUE(event);
  EXPECT_FALSE(*event);
}

TEST_F(QmpClientTest, WhatIsNoQmpIsOurFailure) {
  say("qemu: could not load PC BIOS\n");
  auto ready = client_->negotiate(milliseconds(30));
  ASSERT_FALSE(ready);
  EXPECT_EQ(ready.error().kind, TargetFailure::Kind::harness);
}

}  // namespace
}  // namespace real_qemu
