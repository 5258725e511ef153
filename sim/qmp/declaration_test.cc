// Malformed requests and arguments, in the words of QEMU 7.2 (measured).

#include "sim/qmp/declaration.h"

#include <gtest/gtest.h>

#include <array>

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

constexpr std::array kArguments = {
    Argument{"device", Type::string, Presence::required},
    Argument{"sync", Type::string, Presence::required, "full|top|none"},
    Argument{"speed", Type::integer},
    Argument{"granularity", Type::uint32},
    Argument{"flat", Type::boolean},
    Argument{"actions", Type::array},
};

std::string refused_arguments(const char* arguments, const char* prefix = "") {
  const Result<> done = validate(kArguments, Json::parse(arguments), prefix);
  return done ? "" : done.error().desc;
}

TEST(Arguments, AreCheckedInTheDeclaredOrder) {
  EXPECT_EQ(refused_arguments(R"({"device":"a","sync":"top"})"), "");
  EXPECT_EQ(refused_arguments(R"({"y":1})"), "Parameter 'device' is missing");
  EXPECT_EQ(refused_arguments(R"({"device":5,"y":1})"),
            "Invalid parameter type for 'device', expected: string");
  EXPECT_EQ(refused_arguments(R"({"device":null})"),
            "Invalid parameter type for 'device', expected: string");
  EXPECT_EQ(refused_arguments(R"({"device":"a"})"), "Parameter 'sync' is missing");
  EXPECT_EQ(refused_arguments(R"({"device":"a","sync":"bad"})"),
            "Parameter 'sync' does not accept value 'bad'");
  EXPECT_EQ(refused_arguments(R"({"device":"a","sync":"ful"})"),
            "Parameter 'sync' does not accept value 'ful'");
  EXPECT_EQ(refused_arguments(R"({"device":"a","sync":"top","y":1})"),
            "Parameter 'y' is unexpected");
}

TEST(Arguments, NumbersHaveTheirRange) {
  const auto with = [](const std::string& member) {
    return refused_arguments((R"({"device":"a","sync":"top",)" + member + "}").c_str());
  };
  for (const char* speed : {"1.5", "\"1\"", "true", "99999999999999999999"})
    EXPECT_EQ(with(R"("speed":)" + std::string(speed)),
              "Invalid parameter type for 'speed', expected: integer");
  EXPECT_EQ(with(R"("speed":-1)"), "") << "refused later, by the job";
  EXPECT_EQ(with(R"("speed":9223372036854775807)"), "");
  for (const char* granularity : {"-1", "4294967296"})
    EXPECT_EQ(with(R"("granularity":)" + std::string(granularity)),
              "Parameter 'granularity' expects uint32_t");
  EXPECT_EQ(with(R"("flat":1)"), "Invalid parameter type for 'flat', expected: boolean");
  EXPECT_EQ(with(R"("actions":{})"), "Invalid parameter type for 'actions', expected: array");
}

TEST(Arguments, OfAnInnerObjectHaveItsName) {
  EXPECT_EQ(refused_arguments("{}", "options."), "Parameter 'options.device' is missing");
  EXPECT_EQ(refused_arguments(R"({"device":5})", "options."),
            "Invalid parameter type for 'options.device', expected: string");
  EXPECT_EQ(refused_arguments(R"({"device":"a","sync":"x"})", "options."),
            "Parameter 'sync' does not accept value 'x'")
      << "enumerations go without";
}

}  // namespace
}  // namespace sim::qmp
