// The declarations and query-qmp-schema of each installed release: equal in every command and event
// that is declared; and what is not declared is named.

#include "sim/qmp/schema.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "real-qemu/differential/release_for_test.h"

namespace differential {
namespace {

using sim::Json;
using sim::qmp::Schema;

// Two introspections, compared by structure: names of types mean nothing.
class Comparison {
 public:
  Comparison(const Json& ours, const Json& theirs)
      : ours_(by_name(ours)), theirs_(by_name(theirs)) {}

  // Everything that ours declares.
  void compare_all() {
    for (const auto& [name, entry] : ours_) {
      if (entry["meta-type"] != "command" && entry["meta-type"] != "event") continue;
      EXPECT_TRUE(theirs_.contains(name)) << name << ": only declared";
      if (theirs_.contains(name)) compare_message(name, entry, theirs_.at(name));
    }
  }

 private:
  static std::map<std::string, Json> by_name(const Json& list) {
    std::map<std::string, Json> map;
    for (const Json& entry : list) map[entry["name"]] = entry;
    return map;
  }

  void compare_message(const std::string& name, const Json& ours, const Json& theirs) {
    for (const char* member : {"meta-type", "features", "allow-oob"})
      EXPECT_EQ(ours.value(member, Json()), theirs.value(member, Json())) << name << ' ' << member;
    compare_type(ours["arg-type"], theirs["arg-type"], name);
    if (theirs.contains("ret-type"))
      compare_type(ours["ret-type"], theirs["ret-type"], name + " ->");
  }

  void compare_type(const std::string& our_name, const std::string& their_name,
                    const std::string& where) {
    if (!seen_.insert({our_name, their_name}).second) return;
    SCOPED_TRACE(where);
    const Json& ours = ours_.at(our_name);
    const Json& theirs = theirs_.at(their_name);
    for (const char* member : {"meta-type", "features", "values", "json-type", "tag"})
      ASSERT_EQ(ours.value(member, Json()), theirs.value(member, Json())) << where << ' ' << member;
    if (theirs.contains("element-type"))
      compare_type(ours["element-type"], theirs["element-type"], where + "[]");
    if (theirs.contains("members")) compare_members(ours["members"], theirs["members"], where);
    if (theirs.contains("variants")) compare_variants(ours["variants"], theirs["variants"], where);
  }

  void compare_members(const Json& ours, const Json& theirs, const std::string& where) {
    ASSERT_EQ(signature(ours), signature(theirs)) << where;
    for (std::size_t i = 0; i < theirs.size(); ++i)
      if (theirs[i].contains("type"))
        compare_type(ours[i]["type"], theirs[i]["type"],
                     where + "." + theirs[i].value("name", "|"));
  }
  // Members in their order, with everything but their types.
  static std::string signature(const Json& members) {
    std::string text;
    for (Json member : members) {
      member.erase("type");
      text += member.dump() + "\n";
    }
    return text;
  }

  void compare_variants(const Json& ours, const Json& theirs, const std::string& where) {
    std::map<std::string, std::string> our_types;
    for (const Json& variant : ours) our_types[variant["case"]] = variant["type"];
    EXPECT_EQ(our_types.size(), theirs.size());
    for (const Json& variant : theirs) {
      const std::string name = variant["case"];
      ASSERT_TRUE(our_types.contains(name)) << where << ' ' << name;
      compare_type(our_types[name], variant["type"], where + "<" + name + ">");
    }
  }

  std::map<std::string, Json> ours_, theirs_;
  std::set<std::pair<std::string, std::string>> seen_;
};

class QmpSchema : public ReleaseTest {
 protected:
  static std::vector<std::string> names_of(const Json& list, std::string_view meta_type) {
    std::vector<std::string> names;
    for (const Json& entry : list)
      if (meta_type.empty() || entry["meta-type"] == meta_type) names.push_back(entry["name"]);
    std::ranges::sort(names);
    return names;
  }
  std::vector<std::string> our_names(bool of_events) const {
    std::vector<std::string> names;
    for (const std::string_view name : Schema::of(profile()).names(of_events))
      names.emplace_back(name);
    std::ranges::sort(names);
    return names;
  }
};

TEST_P(QmpSchema, NamesEveryCommandAndEvent) {
  const Json list = ask("query-qmp-schema", Json::object())["return"];
  EXPECT_EQ(our_names(false), names_of(list, "command"));
  EXPECT_EQ(our_names(true), names_of(list, "event"));
  EXPECT_EQ(our_names(false), names_of(ask("query-commands", Json::object())["return"], ""));
}

TEST_P(QmpSchema, GreetsAsTheProfileSays) {
  const Json& version = greeting()["version"];
  const sim::Profile& ours = profile();
  EXPECT_EQ(version["qemu"],
            (Json{{"major", ours.major}, {"minor", ours.minor}, {"micro", ours.micro}}));
  EXPECT_EQ(version["package"], ours.package);
}

TEST_P(QmpSchema, IsWhatTheReleaseSays) {
  const Json theirs = ask("query-qmp-schema", Json::object());
  ASSERT_TRUE(theirs.contains("return"));
  Comparison(Schema::of(profile()).introspection(), theirs["return"]).compare_all();
}

TEST_P(QmpSchema, HidesWhatAPolicyHides) {
  if (!has_policies()) GTEST_SKIP() << "no -compat before 6.0";
  restart({"-compat", "deprecated-output=hide,unstable-output=hide"});
  const Json theirs = ask("query-qmp-schema", Json::object());
  ASSERT_TRUE(theirs.contains("return"));
  const sim::qmp::Compat compat = {.deprecated_output = sim::qmp::Compat::Output::hide,
                                   .unstable_output = sim::qmp::Compat::Output::hide};
  Comparison(Schema::of(profile()).introspection(compat), theirs["return"]).compare_all();
}

INSTANTIATE_TEST_SUITE_P(Releases, QmpSchema, ::testing::ValuesIn(release_names()),
                         name_of_release);

}  // namespace
}  // namespace differential
