#include "conformance/scenario/matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conformance/scenario/parse_json.h"

namespace conformance {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

InputResult<Expansion> expanded(const std::string& text) {
  const InputResult<Json> document = parse_json(text, "x.json");
  if (!document) return std::unexpected(document.error());
  return expand(*document, "x", "x.json");
}

std::vector<std::string> ids(const Expansion& expansion) {
  std::vector<std::string> result;
  result.reserve(expansion.drafts.size());
  for (const Draft& draft : expansion.drafts) result.push_back(draft.id);
  return result;
}

Json steps(const Draft& draft) {
  Json result = Json::array();
  for (const Placed& step : draft.steps) result.push_back(step.value);
  return result;
}

// A file with these axes, rules and steps (each the inside of an array).
std::string matrix(const std::string& axes, const std::string& rules = "",
                   const std::string& template_steps = "", const std::string& vars = "") {
  return R"({"title": "t", "because": "b", "steps": [)" + template_steps +
         R"(], "matrix": {"vars": {)" + vars + R"(}, "axes": [)" + axes + R"(], "rules": [)" +
         rules + "]}}";
}
std::string refusal(const std::string& text) {
  const auto result = expanded(text);
  return result ? "accepted" : to_string(result.error());
}

constexpr const char* kAb = R"({"name": "a", "values": {"1": {}, "2": {}}},
                               {"name": "b", "label": "{}", "values": {"x": {}, "y": {}}})";

TEST(Matrix, NoMatrixIsOneScenario) {
  const auto result = expanded(R"({"title": "t", "because": "b", "steps": [{"wait": 1}]})");
  ASSERT_TRUE(result);
  EXPECT_THAT(ids(*result), ElementsAre("x"));
  EXPECT_EQ(result->drafts[0].steps[0].place, "/steps/0");
}

TEST(Matrix, TheLastAxisTurnsFastest) {
  const auto result = expanded(matrix(kAb));
  ASSERT_TRUE(result) << to_string(result.error());
  EXPECT_THAT(ids(*result), ElementsAre("x/a=1/x", "x/a=1/y", "x/a=2/x", "x/a=2/y"));
}

TEST(Matrix, OmittedAxesAreNeitherExpandedNorNamed) {
  const auto result =
      expanded(matrix(kAb, R"({"when": {"a": ["2"]}, "omit": ["b"], "because": "why"})"));
  ASSERT_TRUE(result) << to_string(result.error());
  EXPECT_THAT(ids(*result), ElementsAre("x/a=1/x", "x/a=1/y", "x/a=2"));
  EXPECT_EQ(result->drafts[1].because, "b");
  EXPECT_EQ(result->drafts[2].because, "why");
}

TEST(Matrix, ExcludedCombinationsAreToldOnce) {
  const auto result =
      expanded(matrix(kAb, R"({"when": {"b": ["y"]}, "exclude": true, "because": "never"})"));
  ASSERT_TRUE(result) << to_string(result.error());
  EXPECT_THAT(ids(*result), ElementsAre("x/a=1/x", "x/a=2/x"));
  ASSERT_EQ(result->excluded.size(), 1);
  EXPECT_EQ(result->excluded[0].id, "x/*/y");
  EXPECT_EQ(result->excluded[0].because, "never");
}

TEST(Matrix, ARuleOnADroppedAxisDoesNotMatch) {
  const auto result =
      expanded(matrix(kAb, R"({"when": {"b": ["x"]}, "exclude": true, "because": "never"},
              {"when": {"a": ["2"]}, "omit": ["b"], "because": "why"})"));
  ASSERT_TRUE(result) << to_string(result.error());
  EXPECT_THAT(ids(*result), ElementsAre("x/a=1/y", "x/a=2"));
}

TEST(Matrix, VariablesPartsImagesAndDisks) {
  const auto result = expanded(R"({
    "title": "to ${where}", "because": "b",
    "images": {"base": {"size": "${size}"}},
    "disks": [{"target": "vda"}],
    "steps": [{"part": "before"}, {"call": "c ${size} ${dir}",
               "flags": ["x", "${flags...}", "${size}"]},
              {"part": "after"}],
    "matrix": {
      "vars": {"size": 1, "flags": []},
      "axes": [
        {"name": "a", "values": {
          "1": {"vars": {"where": "one"}, "parts": {"after": [{"n": 1}]}},
          "2": {"vars": {"where": "two", "flags": ["f", 2]}, "images": {"more": {"size": 3}},
                "disks": [{"target": "vdb"}], "parts": {"after": [{"n": 2}, {"n": "${size}"}]}}}},
        {"name": "b", "values": {
          "x": {"parts": {"after": [{"n": "x"}], "before": [{"n": 0}]}}, "y": {}}}
      ],
      "rules": [
        {"when": {"a": ["2"], "b": ["y"]}, "vars": {"size": 7}, "images": {"base": {"size": 9}}},
        {"when": {"a": ["2"], "b": ["x"]}, "parts": {"after": [{"n": "rule"}]}}
      ]
    }})");
  ASSERT_TRUE(result) << to_string(result.error());
  ASSERT_THAT(ids(*result), ElementsAre("x/a=1/b=x", "x/a=1/b=y", "x/a=2/b=x", "x/a=2/b=y"));
  const auto& [first, second, third, fourth] =
      std::tie(result->drafts[0], result->drafts[1], result->drafts[2], result->drafts[3]);
  EXPECT_EQ(first.title, "to one");
  EXPECT_EQ(steps(first), Json::parse(R"([{"n": 0}, {"call": "c 1 ${dir}", "flags": ["x", 1]},
                                          {"n": 1}, {"n": "x"}])"));
  EXPECT_EQ(first.steps[3].place, "/matrix/axes/1/values/x/parts/after/0");
  EXPECT_EQ(first.images.at("base").value, Json::parse(R"({"size": 1})"));
  EXPECT_EQ(steps(second), Json::parse(R"([{"call": "c 1 ${dir}", "flags": ["x", 1]}, {"n": 1}])"));
  EXPECT_EQ(steps(third),
            Json::parse(R"([{"n": 0}, {"call": "c 1 ${dir}", "flags": ["x", "f", 2, 1]},
                                          {"n": "rule"}])"));
  EXPECT_EQ(steps(fourth), Json::parse(R"([{"call": "c 7 ${dir}", "flags": ["x", "f", 2, 7]},
                                           {"n": 2}, {"n": 7}])"));
  EXPECT_EQ(fourth.title, "to two");
  EXPECT_EQ(fourth.disks.size(), 2);
  EXPECT_EQ(fourth.images.at("more").place, "/matrix/axes/0/values/2/images/more");
  EXPECT_EQ(fourth.images.at("base").value, Json::parse(R"({"size": 9})"));
  EXPECT_EQ(fourth.images.at("base").place, "/matrix/rules/0/images/base");
}

TEST(Matrix, RulesAreChecked) {
  const auto rule = [](const std::string& text) { return refusal(matrix(kAb, text)); };
  EXPECT_THAT(rule(R"({"when": {"c": ["1"]}, "vars": {}})"),
              HasSubstr("/matrix/rules/0/when/c: expected the name of an axis, not \"c\""));
  EXPECT_THAT(rule(R"({"when": {"a": ["1", "9"]}, "vars": {}})"),
              HasSubstr("/matrix/rules/0/when/a/1: expected a value of the axis \"a\""));
  EXPECT_THAT(rule(R"({"when": {"a": ["1"]}, "exclude": true})"),
              HasSubstr("/matrix/rules/0: expected a member \"because\""));
  EXPECT_THAT(rule(R"({"when": {"a": ["1"]}, "omit": ["b"]})"), HasSubstr("\"because\""));
  EXPECT_THAT(rule(R"({"when": {"a": ["1"]}, "omit": ["c"], "because": "w"})"),
              HasSubstr("/matrix/rules/0/omit/0: expected the name of an axis"));
  EXPECT_THAT(rule(R"({"when": {"a": ["1"]}, "omit": ["a"], "because": "w"})"),
              HasSubstr("/matrix/rules/0/omit/0: expected an axis that the rule's \"when\""));
  EXPECT_THAT(rule(R"({"when": {"a": ["1"]}, "exclude": true, "because": "w"},
                      {"when": {"a": ["1"], "b": ["x"]}, "vars": {}})"),
              HasSubstr("/matrix/rules/1: expected a rule that matches some combination"));
}

TEST(Matrix, AxesAreChecked) {
  EXPECT_THAT(
      refusal(matrix(R"({"name": "a", "values": {"1": {}}}, {"name": "a", "values": {"1": {}}})")),
      HasSubstr("/matrix/axes/1/name"));
  EXPECT_THAT(refusal(matrix(R"({"name": "a", "label": "a", "values": {"1": {}}})")),
              HasSubstr("/matrix/axes/0/label"));
  EXPECT_THAT(refusal(matrix(R"({"name": "a", "label": "{}", "values": {"1": {}, "2": {}}},
                                {"name": "b", "label": "{}", "values": {"1": {}, "2": {}}})",
                             R"({"when": {"a": ["1"]}, "omit": ["b"], "because": "w"},
                                {"when": {"b": ["1"]}, "omit": ["a"], "because": "w"})")),
              HasSubstr("labels that make every id unique, not two of x/1"));
  std::string many;
  for (int axis = 0; axis < 20; ++axis)
    many += (axis == 0 ? "" : ",") + std::string(R"({"name": "a)") + std::to_string(axis) +
            R"(", "values": {"1": {}, "2": {}}})";
  EXPECT_THAT(refusal(matrix(many)), HasSubstr("at most 100000 combinations"));
}

TEST(Matrix, NamesAreDefinedAndUsed) {
  const std::string axis = R"({"name": "a", "values": {"1": {)";
  EXPECT_THAT(refusal(matrix(axis + R"("vars": {"v": 1}}}})")),
              HasSubstr("/matrix/axes/0/values/1/vars/v: expected a use of the variable `${v}`"));
  EXPECT_THAT(refusal(matrix(kAb, "", "", R"("v": 1)")),
              HasSubstr("/matrix/vars/v: expected a use"));
  EXPECT_THAT(refusal(matrix(axis + R"("vars": {"v": "${w}"}}}})", "", R"({"x": "${v}"})")),
              HasSubstr("a variable's value without other variables"));
  EXPECT_THAT(refusal(matrix(R"({"name": "a", "values": {"1": {"vars": {"v": 1}}, "2": {}}})", "",
                             R"({"x": "${v}"})")),
              HasSubstr("/steps/0/x: expected a variable that is defined, not `${v}`"));
  EXPECT_THAT(refusal(matrix(axis + R"("parts": {"p": []}}}})")),
              HasSubstr("expected a step {\"part\": \"p\"}"));
  EXPECT_THAT(
      refusal(matrix(axis + R"("parts": {"p": [{"part": "p"}]}}}})", "", R"({"part": "p"})")),
      HasSubstr("/matrix/axes/0/values/1/parts/p/0: expected steps that are not parts"));
  EXPECT_THAT(refusal(matrix(R"({"name": "a", "values": {"1": {"images": {"i": {}}}}},
                                {"name": "b", "values": {"1": {"images": {"i": {}}}}})")),
              HasSubstr("/matrix/axes/1/values/1/images/i: expected only one image \"i\""));
  EXPECT_THAT(refusal(matrix(R"({"name": "a", "values": {"1": {"vars": {"v": 1}}}},
                                {"name": "b", "values": {"1": {"vars": {"v": 1}}}})",
                             "", R"({"x": "${v}"})")),
              HasSubstr("/matrix/axes/1/values/1/vars/v: expected only one axis to set `${v}`"));
}

TEST(Matrix, AVariableFitsItsPlace) {
  const auto step = [](const std::string& value, const std::string& text) {
    return refusal(matrix(R"({"name": "a", "values": {"1": {"vars": {"v": )" + value + "}}}}", "",
                          R"({"x": [")" + text + R"("]})"));
  };
  EXPECT_EQ(step("[1]", "${v}"), "accepted");
  EXPECT_EQ(step("[1]", "${v...}"), "accepted");
  EXPECT_THAT(step("[1]", "a ${v}"), HasSubstr("to be a string or an integer"));
  EXPECT_THAT(step("1", "${v...}"), HasSubstr("to be an array"));
}

}  // namespace
}  // namespace conformance
