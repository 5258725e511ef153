// Malformed requests, in the words of QEMU 7.2 (measured).

#include "sim/qmp/request.h"

#include <gtest/gtest.h>

#include <string>

namespace sim::qmp {
namespace {

std::string refused(const char* request) {
  const auto read = read_request(Json::parse(request));
  return read ? "" : read.error().desc;
}

TEST(Request, MustBeAnObjectWithItsMembers) {
  for (const char* request : {"[1,2]", "\"str\"", "5", "null"})
    EXPECT_EQ(refused(request), "QMP input must be a JSON object") << request;
  EXPECT_EQ(refused("{}"), "QMP input lacks member 'execute'");
  EXPECT_EQ(refused(R"({"arguments":{}})"), "QMP input lacks member 'execute'");
  EXPECT_EQ(refused(R"({"execute":5})"), "QMP input member 'execute' must be a string");
  for (const char* arguments : {"[]", "\"x\"", "null"})
    EXPECT_EQ(
        refused(
            (R"({"execute":"query-status","arguments":)" + std::string(arguments) + "}").c_str()),
        "QMP input member 'arguments' must be an object");
  EXPECT_EQ(refused(R"({"execute":"query-status","foo":1})"),
            "QMP input member 'foo' is unexpected");
  EXPECT_EQ(refused(R"({"exec-oob":"query-status"})"), "QMP input member 'exec-oob' is unexpected");
}

TEST(Request, MayHaveAnId) {
  const auto request = read_request(Json::parse(R"({"execute":"a","id":{"a":[1]}})"));
  ASSERT_TRUE(request);
  EXPECT_EQ(request->command, "a");
  EXPECT_EQ(request->arguments, Json::object());
  EXPECT_EQ(make_reply(Json::parse(R"({"id":{"a":[1]}})"), Json::object()).dump(),
            R"({"id":{"a":[1]},"return":{}})");
}

TEST(Reply, ErrorsHaveClassAndText) {
  EXPECT_EQ(make_reply(Json::object(), Error{ErrorClass::device_not_active, "no"}).dump(),
            R"({"error":{"class":"DeviceNotActive","desc":"no"}})");
}

}  // namespace
}  // namespace sim::qmp
