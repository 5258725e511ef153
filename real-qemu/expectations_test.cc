#include "real-qemu/expectations.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "real-qemu/directory.h"

namespace real_qemu {
namespace {

constexpr const char* kTwo = R"([
  // a reason for each
  {"scenario": "matrix/block-copy/*", "class": "data", "because": "a", "source": "b"},
  {"scenario": "bugs/x", "class": "crash", "because": "c", "source": "d"}
])";

std::string refused(const std::string& text) {
  const auto read = parse_expectations(text, "7.2.22.json");
  return read ? "accepted" : to_string(read.error());
}

TEST(Expectations, ReadsAndFinds) {
  const auto read = parse_expectations(kTwo, "7.2.22.json");
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), 2U);
  EXPECT_EQ((*read)[1], (Expectation{"bugs/x", "crash", "c", "d", "7.2.22.json: /1"}));
  EXPECT_EQ(find_expectation(*read, "matrix/block-copy/src=raw", "data"), &(*read)[0]);
  EXPECT_EQ(find_expectation(*read, "matrix/block-copy/src=raw", "events"), nullptr);
  EXPECT_EQ(find_expectation(*read, "matrix/block-copy", "data"), nullptr);
  EXPECT_EQ(find_expectation(*read, "matrix/block-copying/x", "data"), nullptr);
  EXPECT_EQ(find_expectation(*read, "bugs/x", "crash"), &(*read)[1]);
  EXPECT_EQ(find_expectation(*read, "bugs/xy", "crash"), nullptr);
}

TEST(Expectations, RefusalsNameFilePlaceAndCure) {
  EXPECT_EQ(refused("{"),
            "7.2.22.json: expected JSON: an array of expectations; check its syntax, or write [] "
            "for none");
  EXPECT_EQ(refused("{}"), "7.2.22.json: expected an array of expectations; write [] for none");
  EXPECT_TRUE(refused("[3]").starts_with("7.2.22.json: /0: expected an object; write {"));
  EXPECT_TRUE(refused(R"([{"scenario": "a", "class": "data", "because": "b"}])")
                  .starts_with("7.2.22.json: /0/source: expected a text that is not empty"));
  EXPECT_TRUE(refused(R"([{"scenario": "a", "class": "data", "because": "", "source": "c"}])")
                  .starts_with("7.2.22.json: /0/because: expected a text"));
  EXPECT_EQ(refused(R"([{"scenario": "a", "class": "date", "because": "b", "source": "c"}])"),
            "7.2.22.json: /0/class: expected one of data, chain, events, error, wording, "
            "allocation, hang, crash; take the class that the report shows");
  EXPECT_EQ(
      refused(R"([{"scenario": "a", "class": "data", "because": "b", "source": "c", "why": 1}])"),
      "7.2.22.json: /0/why: expected only scenario, class, because, source; remove this member");
  for (const char* bad : {"*", "/*", "a*", "a/*/b", "a/**"})
    EXPECT_TRUE(refused(R"([{"scenario": ")" + std::string(bad) +
                        R"(", "class": "data", "because": "b", "source": "c"}])")
                    .starts_with("7.2.22.json: /0/scenario: expected an id, or a prefix"))
        << bad;
  EXPECT_TRUE(refused(R"([{"scenario": "a", "scenario": "b"}])").contains("\"scenario\" is there"));
  EXPECT_TRUE(refused(R"([{"scenario": "a", "class": "data", "because": "b", "source": "c"},
                          {"scenario": "a", "class": "data", "because": "d", "source": "e"}])")
                  .starts_with("7.2.22.json: /1: expected each scenario and class once"));
}

TEST(Expectations, AVersionWithoutAFileHasNone) {
  auto directory = PrivateDirectory::make(scratch_place());
  ASSERT_TRUE(directory);
  const auto none = load_expectations(directory->path(), "9.9.9");
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->empty());
  std::ofstream(directory->path() + "/9.9.9.json") << kTwo;
  const auto two = load_expectations(directory->path(), "9.9.9");
  ASSERT_TRUE(two);
  EXPECT_EQ(two->size(), 2U);
}

TEST(Expectations, OursAreValid) {
  const auto read = load_expectations(UNDERSTUDY_SOURCE_DIR "/real-qemu/expectations", "7.2.22");
  EXPECT_TRUE(read) << to_string(read.error());
}

}  // namespace
}  // namespace real_qemu
