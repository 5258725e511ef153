// What the declarations say, and the checks that come of them.  Texts are QEMU's, measured on 5.2,
// 7.2, 10.0 and 11.1; that all of them are alike is tested in real-qemu/differential.

#include "sim/qmp/schema.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace sim::qmp {
namespace {

const Schema& schema(std::string_view release) { return Schema::of(*find_profile(release)); }

std::string refused(std::string_view release, std::string_view command, const char* arguments,
                    const Compat& compat = {}) {
  const Result<> done = schema(release).check_arguments(command, Json::parse(arguments), compat);
  return done ? "" : done.error().desc;
}

TEST(Schema, IsBuiltForEveryRelease) {
  for (const Profile& profile : kProfiles) {
    EXPECT_GT(Schema::of(profile).messages().size(), 100U) << profile.name;
    EXPECT_EQ(&Schema::of(profile), &Schema::of(profile));
  }
}

TEST(Schema, KnowsWhichReleaseHasWhat) {
  EXPECT_TRUE(schema("5.2").has_command("change"));
  EXPECT_FALSE(schema("7.2").has_command("change"));
  EXPECT_FALSE(schema("7.2").has_command("block-job-change"));
  EXPECT_TRUE(schema("10.0").has_command("block-job-change"));
  EXPECT_FALSE(schema("5.2").has_command("JOB_STATUS_CHANGE")) << "an event";
  EXPECT_NE(schema("5.2").event("JOB_STATUS_CHANGE"), nullptr);
  EXPECT_EQ(schema("10.0").event("GUEST_PVSHUTDOWN")->name, "GUEST_PVSHUTDOWN");
  EXPECT_EQ(schema("7.2").event("GUEST_PVSHUTDOWN"), nullptr);
  EXPECT_FALSE(schema("10.0").command("block-job-pause")->features.deprecated);
  EXPECT_TRUE(schema("11.1").command("block-job-pause")->features.deprecated);
  EXPECT_EQ(refused("7.2", "query-events", "{}"), "The command query-events has not been found");
}

TEST(Arguments, AreCheckedInTheDeclaredOrder) {
  const auto mirror = [](const char* arguments) {
    return refused("7.2", "blockdev-mirror", arguments);
  };
  EXPECT_EQ(mirror(R"({"device":"a","target":"b","sync":"top"})"), "");
  EXPECT_EQ(mirror(R"({"y":1})"), "Parameter 'device' is missing");
  EXPECT_EQ(mirror(R"({"device":5,"y":1})"),
            "Invalid parameter type for 'device', expected: string");
  EXPECT_EQ(mirror(R"({"device":"a","target":"b"})"), "Parameter 'sync' is missing");
  EXPECT_EQ(mirror(R"({"device":"a","target":"b","sync":"full","y":1})"),
            "Parameter 'y' is unexpected");
  EXPECT_EQ(mirror(R"({"device":"a","target":"b","sync":null})"),
            "Invalid parameter type for 'sync', expected: string");
}

TEST(Arguments, ValuesOfEnumerationsAreWordedByRelease) {
  const char* bad = R"({"device":"a","target":"b","sync":"bad"})";
  EXPECT_EQ(refused("5.2", "blockdev-mirror", bad), "Invalid parameter 'bad'");
  for (const char* release : {"7.2", "10.0", "11.1"})
    EXPECT_EQ(refused(release, "blockdev-mirror", bad),
              "Parameter 'sync' does not accept value 'bad'");
  EXPECT_EQ(refused("7.2", "qmp_capabilities", R"({"enable":["bad"]})"),
            "Parameter 'null' does not accept value 'bad'");
}

TEST(Arguments, NumbersHaveTheirRange) {
  const auto with = [](const std::string& member) {
    return refused("11.1", "blockdev-mirror",
                   (R"({"device":"a","target":"b","sync":"top",)" + member + "}").c_str());
  };
  for (const char* speed : {"1.0", "\"1\"", "true", "9223372036854775808"})
    EXPECT_EQ(with(R"("speed":)" + std::string(speed)),
              "Invalid parameter type for 'speed', expected: integer");
  EXPECT_EQ(with(R"("speed":-1)"), "") << "refused later, by the job";
  EXPECT_EQ(with(R"("speed":9223372036854775807)"), "");
  for (const char* granularity : {"-1", "4294967296"})
    EXPECT_EQ(with(R"("granularity":)" + std::string(granularity)),
              "Parameter 'granularity' expects uint32_t");
  EXPECT_EQ(with(R"("granularity":"1")"), "Parameter 'granularity' expects uint64");
  EXPECT_EQ(
      refused("5.2", "block-set-write-threshold", R"({"node-name":"a","write-threshold":-1})"), "");
}

TEST(Arguments, OfInnerObjectsHaveTheirPath) {
  const auto add = [](const char* arguments) { return refused("10.0", "blockdev-add", arguments); };
  EXPECT_EQ(add(R"({"driver":"qcow2","file":{"driver":"file"}})"),
            "Parameter 'file.filename' is missing");
  EXPECT_EQ(add(R"({"driver":"qcow2","file":{"driver":"file","filename":"x","z":1},"y":1})"),
            "Parameter 'file.z' is unexpected");
  EXPECT_EQ(add(R"({"driver":"quorum","vote-threshold":1,"children":[{"driver":5}]})"),
            "Invalid parameter type for 'children[0].driver', expected: string");
  EXPECT_EQ(refused("7.2", "transaction", R"({"actions":[{"type":"abort","data":{"x":1}}]})"),
            "Parameter 'actions[0].data.x' is unexpected");
  EXPECT_EQ(refused("7.2", "transaction", R"({"actions":[{"type":"abort"}]})"),
            "Parameter 'actions[0].data' is missing");
}

TEST(Arguments, AlternatesAreNamed) {
  EXPECT_EQ(
      refused("7.2", "blockdev-add", R"({"driver":"qcow2","file":{"driver":"raw","file":5}})"),
      "Invalid parameter type for 'file', expected: BlockdevRef");
  EXPECT_EQ(refused("7.2", "blockdev-add", R"({"driver":"qcow2","file":"a","backing":null})"), "");
  const char* bitmaps = R"({"node":"a","target":"b","bitmaps":[5]})";
  EXPECT_EQ(refused("5.2", "block-dirty-bitmap-merge", bitmaps),
            "Invalid parameter type for 'null', expected: BlockDirtyBitmapMergeSource");
  EXPECT_EQ(refused("7.2", "block-dirty-bitmap-merge", bitmaps),
            "Invalid parameter type for 'null', expected: BlockDirtyBitmapOrStr");
}

TEST(Arguments, OfUncheckedCommandsAreLeftToTheirHandlers) {
  EXPECT_EQ(refused("11.1", "device_add", R"({"anything":{}})"), "");
  EXPECT_EQ(refused("5.2", "object-add", R"({"anything":{}})"), "");
  EXPECT_EQ(refused("7.2", "object-add", R"({})"), "Parameter 'qom-type' is missing");
}

TEST(Compatibility, PoliciesRefuseWhatIsDeprecatedOrUnstable) {
  const Compat strict = {.deprecated_input = Compat::Input::reject,
                         .unstable_input = Compat::Input::reject};
  EXPECT_EQ(refused("7.2", "drive-backup", "{}", strict),
            "Deprecated command drive-backup disabled by policy");
  EXPECT_EQ(refused("7.2", "x-debug-query-block-graph", "{}", strict),
            "Unstable command x-debug-query-block-graph disabled by policy");
  EXPECT_EQ(refused("7.2", "block-commit", R"({"device":"a","top":"b"})", strict),
            "Deprecated parameter top disabled by policy");
  EXPECT_EQ(refused("7.2", "block-commit", R"({"device":"a","top":"b"})"), "");
  EXPECT_EQ(refused("7.2", "transaction", R"({"actions":[{"type":"drive-backup"}]})", strict),
            "Deprecated value drive-backup disabled by policy");
  const Result<> crashed = schema("7.2").check_arguments(
      "drive-backup", Json::object(), {.deprecated_input = Compat::Input::crash});
  EXPECT_EQ(crashed.error().number, kPolicyCrash);
  EXPECT_EQ(crashed.error().error_class, ErrorClass::command_not_found);
}

TEST(Compatibility, OutputMayBeHidden) {
  const Schema& old = schema("5.2");
  Json devices = Json::parse(R"([{"device":"","dirty-bitmaps":[],"inserted":{"file":"f",
      "encryption_key_missing":false}}])");
  old.hide_output(*old.command("query-block")->returns, devices, {});
  EXPECT_TRUE(devices[0].contains("dirty-bitmaps"));
  old.hide_output(*old.command("query-block")->returns, devices,
                  {.deprecated_output = Compat::Output::hide});
  EXPECT_EQ(devices.dump(), R"([{"device":"","inserted":{"file":"f"}}])");
}

TEST(Types, AreCheckedByName) {
  const Result<> done =
      schema("7.2").check_type("BlockdevOptions", Json::parse(R"({"driver":"file"})"), "options");
  EXPECT_EQ(done.error().desc, "Parameter 'options.filename' is missing");
  EXPECT_EQ(schema("7.2").check_type("BlockdevOptions", Json::object()).error().desc,
            "Parameter 'driver' is missing");
}

TEST(Introspection, NamesEveryTypeItUses) {
  for (const Profile& profile : kProfiles) {
    const Json list = Schema::of(profile).introspection();
    std::vector<std::string> names;
    for (const Json& entry : list) names.push_back(entry["name"]);
    std::ranges::sort(names);
    EXPECT_EQ(std::ranges::adjacent_find(names), names.end()) << "each once";
    const auto there = [&](const Json& name) {
      return std::ranges::binary_search(names, name.get_ref<const std::string&>());
    };
    for (const Json& entry : list) {
      for (const char* member : {"arg-type", "ret-type", "element-type"})
        EXPECT_TRUE(!entry.contains(member) || there(entry[member])) << entry.dump();
      for (const Json& member : entry.value("members", Json::array()))
        EXPECT_TRUE(!member.contains("type") || there(member["type"])) << entry.dump();
      for (const Json& variant : entry.value("variants", Json::array()))
        EXPECT_TRUE(there(variant["type"])) << entry.dump();
    }
  }
}

TEST(Introspection, HidesWhatAPolicyHides) {
  const auto tells_of = [](std::string_view name, const Compat& compat) {
    return std::ranges::any_of(schema("7.2").introspection(compat),
                               [&](const Json& entry) { return entry["name"] == name; });
  };
  EXPECT_TRUE(tells_of("drive-backup", {}));
  EXPECT_FALSE(tells_of("drive-backup", {.deprecated_output = Compat::Output::hide}));
}

}  // namespace
}  // namespace sim::qmp
