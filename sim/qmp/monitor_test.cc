// The life of a client; texts and orders as measured on QEMU 5.2 to 11.1.

#include "sim/qmp/monitor.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sim::qmp {
namespace {

class MonitorTest : public ::testing::Test {
 protected:
  Monitor make(const char* release = "7.2") {
    return {*find_profile(release), {.greeting = {{"QMP", Json::object()}}}, [this](Json request) {
              executed_.push_back(request["execute"]);
              return std::optional(make_reply(request, Json::object()));
            }};
  }
  // Feeds, runs all, and gives the answers.
  static std::string ask(Monitor& monitor, std::string_view bytes) {
    (void)monitor.take_output();
    monitor.feed(bytes);
    while (monitor.step()) {
    }
    return monitor.take_output();
  }
  static void negotiate(Monitor& monitor, bool out_of_band = false) {
    monitor.connect();
    const std::string enable = R"(,"arguments":{"enable":["oob"]})";
    EXPECT_EQ(ask(monitor, R"({"execute":"qmp_capabilities")" + (out_of_band ? enable : "") + "}"),
              "{\"return\": {}}\r\n");
  }
  static std::string error(const std::string& desc, const char* error_class = "GenericError") {
    return std::string(R"({"error": {"class": ")") + error_class + R"(", "desc": ")" + desc +
           "\"}}\r\n";
  }
  std::vector<std::string> executed_;
};

TEST_F(MonitorTest, GreetsAndWaitsForNegotiation) {
  Monitor monitor = make();
  monitor.connect();
  EXPECT_EQ(monitor.take_output(), "{\"QMP\": {}}\r\n");
  const char* const expecting = "Expecting capabilities negotiation with 'qmp_capabilities'";
  EXPECT_EQ(ask(monitor, R"({"execute":"nope"})"), error(expecting, "CommandNotFound"));
  EXPECT_EQ(ask(monitor, R"({"exec-oob":"qmp_capabilities"})"),
            error("QMP input member 'exec-oob' is unexpected"));
  EXPECT_EQ(ask(monitor, R"({"execute":"qmp_capabilities","arguments":{"x":1}})"),
            error("Parameter 'x' is unexpected"));
  monitor.tell({"STOP", Json::object(), {}});
  EXPECT_EQ(monitor.take_output(), "") << "no events yet";
  EXPECT_EQ(ask(monitor, R"({"execute":"qmp_capabilities","id":[1]})"),
            "{\"return\": {}, \"id\": [1]}\r\n");
  EXPECT_EQ(
      ask(monitor, R"({"execute":"qmp_capabilities"})"),
      error("Capabilities negotiation is already complete, command ignored", "CommandNotFound"));
  EXPECT_TRUE(executed_.empty());
}

TEST_F(MonitorTest, BrokenInputIsAnsweredInItsTurn) {
  Monitor monitor = make();
  negotiate(monitor);
  EXPECT_EQ(ask(monitor, "{\"execute\":\"stop\"} foo [] {\"execute\":\"cont\",\"id\":1}"),
            "{\"return\": {}}\r\n" + error("JSON parse error, invalid keyword 'foo'") +
                error("QMP input must be a JSON object") + "{\"return\": {}, \"id\": 1}\r\n");
}

TEST_F(MonitorTest, WithoutOutOfBandNothingIsReadAhead) {
  Monitor monitor = make();
  negotiate(monitor);
  monitor.feed(R"({"execute":"stop"}{"execute":"cont"})");
  EXPECT_TRUE(monitor.is_suspended());
  EXPECT_TRUE(monitor.step());
  EXPECT_EQ(executed_, std::vector<std::string>{"stop"});
  EXPECT_TRUE(monitor.is_suspended());
  EXPECT_TRUE(monitor.step());
  EXPECT_FALSE(monitor.is_suspended());
  EXPECT_FALSE(monitor.step());
}

TEST_F(MonitorTest, OutOfBandOvertakesUpToEight) {
  Monitor monitor = make();
  negotiate(monitor, true);
  std::string requests;
  for (int i = 0; i < 7; ++i) requests += R"({"execute":"stop"})";
  monitor.feed(requests + R"({"exec-oob":"migrate-pause"})");
  EXPECT_EQ(executed_, std::vector<std::string>{"migrate-pause"});
  EXPECT_FALSE(monitor.is_suspended());
  monitor.feed(R"({"execute":"cont"}{"exec-oob":"migrate-pause"})");
  EXPECT_TRUE(monitor.is_suspended());
  EXPECT_EQ(executed_.size(), 1U) << "it is not read";
  EXPECT_TRUE(monitor.step());
  EXPECT_EQ(executed_.size(), 3U);
}

TEST_F(MonitorTest, OutOfBandIsForCommandsThatAllowIt) {
  Monitor monitor = make();
  negotiate(monitor, true);
  EXPECT_EQ(ask(monitor, R"({"exec-oob":"query-status","id":5})"),
            "{\"id\": 5, \"error\": {\"class\": \"GenericError\", \"desc\": "
            "\"The command query-status does not support OOB\"}}\r\n");
  EXPECT_EQ(ask(monitor, R"({"exec-oob":"stop","execute":"stop"})"),
            error("QMP input member 'execute' clashes with 'exec-oob'"));
  EXPECT_EQ(ask(monitor, R"({"exec-oob":5})"),
            error("QMP input member 'exec-oob' must be a string"));
}

TEST_F(MonitorTest, ANewClientBeginsAnew) {
  Monitor monitor = make("11.1");
  negotiate(monitor, true);
  monitor.feed("\n\n{\"execute\":");
  monitor.disconnect();
  monitor.connect();
  EXPECT_EQ(ask(monitor, "foo\n"), error("1:1: JSON parse error, invalid keyword 'foo'"));
}

TEST_F(MonitorTest, TellsEventsByTheMachinesTime) {
  Monitor monitor = make();
  negotiate(monitor);
  monitor.tell({"STOP", Json::object(), Instant{} + milliseconds(1'500)});
  EXPECT_EQ(monitor.take_output(),
            "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 500000}, \"event\": \"STOP\"}\r\n");
}

}  // namespace
}  // namespace sim::qmp
