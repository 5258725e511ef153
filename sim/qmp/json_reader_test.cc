// Streams of JSON, and what real QEMU 5.2 to 11.1 made of them (measured; the whole table is in
// real-qemu/differential/wire_streams.json).

#include "sim/qmp/json_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sim/qmp/json_writer.h"

namespace sim::qmp {
namespace {

using Found = std::vector<std::string>;

// Values as JSON, mistakes without "JSON parse error, " as QEMU tells them.
void take_all(JsonReader& reader, std::string_view bytes, Found& found) {
  while (const auto result = reader.next(bytes)) {
    std::string text = *result ? (**result).dump() : result->error().desc;
    const std::string_view common = "JSON parse error, ";
    if (const auto at = text.find(common); at != std::string::npos) text.erase(at, common.size());
    found.push_back(std::move(text));
  }
}

Found read(const char* release, std::string_view bytes) {
  JsonReader reader(*find_profile(release));
  Found found;
  take_all(reader, bytes, found);
  return found;
}

TEST(JsonReader, GivesValuesAsTheyCome) {
  EXPECT_EQ(read("7.2", R"({"a":[1,-2,1.5,true,null,"x"]} {'b':'it\'s "'} [])"),
            (Found{R"({"a":[1,-2,1.5,true,null,"x"]})", R"({"b":"it's \""})", "[]"}));
  EXPECT_EQ(read("7.2", "1 2"), Found{"1"}) << "2 may go on";
}

TEST(JsonReader, NumbersAreSignedUnsignedOrFloating) {
  const std::string all =
      "[9223372036854775807,9223372036854775808,18446744073709551615,-9223372036854775808]";
  EXPECT_EQ(read("7.2", all), Found{all});
  EXPECT_EQ(read("7.2", "[18446744073709551616,1e5]"), Found{"[1.8446744073709552e+19,100000.0]"});
}

TEST(JsonReader, MakesNoDifferenceHowBytesAreCut) {
  const std::string stream =
      "{\"a\":\"\xc3\xa9\\u00e9\",\"n\":-1.5e3} foo {\"a\":1 \"b\":2} [1,,] @ {} \"a\x01 {}\n";
  for (const char* release : {"7.2", "11.1"}) {
    JsonReader reader(*find_profile(release));
    Found by_bytes;
    for (const char& byte : stream) take_all(reader, {&byte, 1}, by_bytes);
    EXPECT_EQ(by_bytes, read(release, stream));
  }
}

TEST(JsonReader, TellsMistakesInTheReleasesWords) {
  struct Case {
    const char* stream;
    Found until_10_0, from_11_1;
  };
  const std::vector<Case> cases = {
      {"foo\n", {"invalid keyword 'foo'"}, {"1:1: invalid keyword 'foo'"}},
      {"{\"a\":}", {"expecting value"}, {"1:6: expecting value"}},
      {"{1:2}", {"key is not a string in object"}, {"1:2: expecting key"}},
      {"{foo:1}", {"invalid keyword 'foo'"}, {"1:2: expecting key"}},
      {"{\"a\":1,}", {"expecting value"}, {"1:8: expecting key"}},
      {"{\"a\" 1}", {"missing : in object pair"}, {"1:6: expecting ':'"}},
      {"{\"a\":1 \"b\":2}", {"expected separator in dict"}, {"1:8: expected ',' or '}'"}},
      {"[1 2]", {"expected separator in list"}, {"1:4: expected ',' or ']'"}},
      {"[\"\\x\"]",
       {"invalid escape sequence in string"},
       {"1:2: invalid escape sequence in string"}},
      {"[\"\\ud83dx\"]",
       {"\\ud83d is not a valid Unicode character"},
       {"1:2: \\ud83d is not a valid Unicode character"}},
      {"[\"\x80\"]",
       {"invalid UTF-8 sequence in string"},
       {"1:2: invalid UTF-8 sequence in string"}},
      {"}", {"expecting value"}, {"1:1: expecting value"}},
  };
  for (const Case& one : cases) {
    for (const char* release : {"5.2", "7.2", "10.0"})
      EXPECT_EQ(read(release, one.stream), one.until_10_0) << one.stream;
    EXPECT_EQ(read("11.1", one.stream), one.from_11_1) << one.stream;
  }
}

TEST(JsonReader, CountsLinesOfTheWholeStream) {
  EXPECT_EQ(read("11.1", "{}\n{}\n {\"a\"\n:]}"),
            (Found{"{}", "{}", "4:2: expecting value", "4:3: expecting value"}));
}

TEST(JsonReader, GoesOnBehindAMistake) {
  EXPECT_EQ(read("7.2", "{\"a\":1 \"b\":{\"c\":[1,2]}} {}"),
            (Found{"expected separator in dict", "{}"}))
      << "where the braces are closed";
  EXPECT_EQ(read("7.2", "{\"a\":\xff{}"), (Found{"stray '\xef\xbf\xbd'", "{}"}))
      << "at once behind what is no token";
  EXPECT_EQ(read("7.2", "{\"a\":\"b\tc\"}\n"), (Found{"stray '\"b\t'", "expecting value"}));
  EXPECT_EQ(read("7.2", "@ 5 {}"), (Found{"stray '@'", "{}"}));
}

TEST(JsonReader, HasLimits) {
  const auto nested = [](int levels) {
    return std::string(levels, '[') + std::string(levels, ']');
  };
  for (const char* release : {"7.2", "11.1"}) {
    EXPECT_EQ(read(release, nested(1024)), Found{nested(1024)});
    EXPECT_EQ(read(release, nested(1025)).front(), "JSON nesting depth limit exceeded");
  }
}

// As measured: until 10.0 what follows the token too many is read anew, and makes no sense.
TEST(JsonReader, HasALimitOfTokens) {
  std::string list = "[";
  for (int i = 0; i < 1'100'000; ++i) list += "1,";
  list += "1]\n";
  const Found found = read("10.0", list);
  EXPECT_EQ(found.front(), "JSON token count limit exceeded");
  EXPECT_EQ(found.size(), 102'851U);
  EXPECT_EQ(read("11.1", list), Found{"JSON token count limit exceeded"});
}

TEST(JsonReader, ATextIsOneValue) {
  const Profile& profile = *find_profile("7.2");
  EXPECT_EQ(*parse_json("5", profile), Json(5));
  EXPECT_EQ(parse_json("{} {}", profile).error().desc, "Expecting at most one JSON value");
  EXPECT_EQ(parse_json(" ", profile).error().desc, "Expecting a JSON value");
  EXPECT_EQ(parse_json("{\"a\":", profile).error().desc, "JSON parse error, premature EOI");
}

TEST(JsonWriter, WritesAscii) {
  const Profile& profile = *find_profile("7.2");
  EXPECT_EQ(write_json("a/\b\f\n\r\t\"\\\x7f\x01 \xc3\xa9\xf0\x9f\x98\x80", profile),
            R"("a/\b\f\n\r\t\"\\\u007F\u0001 \u00E9\uD83D\uDE00")");
  EXPECT_EQ(write_json(Json::parse(R"([1,{"a":[]},{},null,true])"), profile),
            R"([1, {"a": []}, {}, null, true])");
}

TEST(JsonWriter, NumbersAreWrittenAsTheReleaseDoes) {
  const Json numbers = {0.1, 1.5, 1e30};
  EXPECT_EQ(write_json(numbers, *find_profile("7.2")), "[0.10000000000000001, 1.5, 1e+30]");
  EXPECT_EQ(write_json(numbers, *find_profile("5.2")),
            "[0.1, 1.5, 1000000000000000019884624838656]");
}

}  // namespace
}  // namespace sim::qmp
