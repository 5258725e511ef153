// What file names mean; texts as measured on 5.2 to 11.1 (scenarios/qmp/names).

#include "sim/driver/name.h"

#include <gtest/gtest.h>

#include <string>

#include "sim/storage/memory.h"

namespace sim::driver {
namespace {

class NameTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* path : {"/raw", "/image"}) ASSERT_TRUE(files_.create(path));
    const std::string magic = "QFI\xfb";
    files_.find("/image")->write_now(0, std::as_bytes(std::span(magic)));
  }

  Result<Named> named(const std::string& name, Json given = Json::object()) {
    auto result = run(world_, options_of_name(graph_, name, std::move(given)));
    world_.scheduler.spawn(graph_.collect());
    return result;
  }
  Json meaning(const std::string& name, Json given = Json::object()) {
    const auto result = named(name, std::move(given));
    EXPECT_TRUE(result) << name << ": " << result.error().desc;
    return result ? result->options : Json();
  }
  std::string refusal(const std::string& name, Json given = Json::object()) {
    const auto result = named(name, std::move(given));
    EXPECT_FALSE(result) << name;
    return result ? "" : result.error().desc;
  }
  static Json file(const std::string& path) { return {{"driver", "file"}, {"filename", path}}; }

  World world_{1};
  storage::MemoryFiles files_;
  block::Graph graph_{world_, files_, *find_profile("7.2")};
};

const Json kQcow2 = {{"driver", "qcow2"}};

TEST_F(NameTest, PlainNamesAndProtocols) {
  const auto qcow2 = [](Json file) { return Json{{"driver", "qcow2"}, {"file", std::move(file)}}; };
  EXPECT_EQ(meaning("/a", kQcow2), qcow2(file("/a")));
  EXPECT_EQ(meaning("file:/a", kQcow2), qcow2(file("/a")));
  EXPECT_EQ(meaning("./x:y", kQcow2), qcow2(file("./x:y")));
  EXPECT_EQ(meaning("blkdebug::/a", kQcow2),
            qcow2({{"driver", "blkdebug"}, {"image", file("/a")}}));
  EXPECT_EQ(meaning("blkdebug:/c:file:/a", kQcow2),
            qcow2({{"driver", "blkdebug"}, {"config", "/c"}, {"image", file("/a")}}));
  EXPECT_EQ(meaning("null-co://", {{"driver", "raw"}}),
            (Json{{"driver", "raw"}, {"file", {{"driver", "null-co"}}}}));
  EXPECT_EQ(meaning("file:/a", {{"driver", "file"}}), file("/a"));
}

TEST_F(NameTest, JsonIsATreeOrDots) {
  const Json wanted = {{"driver", "qcow2"}, {"file", file("/a")}};
  EXPECT_EQ(meaning("json:{'driver':'qcow2','file':{'driver':'file','filename':'/a'}}"), wanted);
  EXPECT_EQ(
      meaning("json:{\"driver\":\"qcow2\",\"file.driver\":\"file\",\"file.filename\":\"/a\"}"),
      wanted);
  EXPECT_EQ(meaning("json:{'driver':'raw','file.filename':'/a'}", kQcow2), wanted)
      << "what is given comes first";
  EXPECT_EQ(meaning("json:{'driver':'qcow2','file.filename':'/a','lazy-refcounts':'on',"
                    "'cache-size':'1M'}"),
            (Json{{"driver", "qcow2"},
                  {"file", file("/a")},
                  {"lazy-refcounts", true},
                  {"cache-size", 1048576}}));
}

TEST_F(NameTest, FormatsThatNobodyNamesAreProbed) {
  EXPECT_EQ(meaning("/image")["driver"], "qcow2");
  EXPECT_EQ(meaning("/raw")["driver"], "raw");
  EXPECT_TRUE(named("/raw")->probed);
  EXPECT_FALSE(named("/raw", {{"driver", "raw"}})->probed);
  EXPECT_TRUE(named("json:{'file':{'driver':'file','filename':'/image'}}")->probed);
  EXPECT_EQ(graph_.all().size(), 0U) << "looking leaves nothing behind";
}

TEST_F(NameTest, RefusalsAreInQemusWords) {
  EXPECT_EQ(refusal("nosuch:/a", kQcow2), "Unknown protocol 'nosuch'");
  EXPECT_EQ(refusal("nbd:host:1", kQcow2), "understudy: protocol 'nbd' is not in this version");
  EXPECT_EQ(refusal("blkdebug:/a", kQcow2), "blkdebug requires both config file and image path");
  EXPECT_EQ(refusal("null-co:x", kQcow2),
            "The only allowed filename for this driver is 'null-co://'");
  EXPECT_EQ(refusal("json:{", kQcow2),
            "Could not parse the JSON options: JSON parse error, premature EOI");
  EXPECT_EQ(refusal("json:[]", kQcow2), "Invalid JSON object given");
  EXPECT_EQ(refusal("json:{}", kQcow2), "A block device must be specified for \"file\"");
  EXPECT_EQ(refusal("json:{}"), "Must specify either driver or file");
  EXPECT_EQ(refusal("json:{'driver':'zzz'}"), "Unknown driver 'zzz'");
  EXPECT_EQ(refusal("json:{'file':{'driver':5}}", kQcow2), "Must specify either driver or file");
  EXPECT_EQ(refusal("json:{'file.filename':'/a','zzz':1}", kQcow2),
            "Block format 'qcow2' does not support the option 'zzz'");
  EXPECT_EQ(refusal("json:{'file.filename':'/a','file.zzz':1}", kQcow2),
            "Block protocol 'file' doesn't support the option 'zzz'");
  EXPECT_EQ(refusal("json:{'file.filename':'/a','read-only':5}", kQcow2),
            "Parameter 'read-only' expects 'on' or 'off'");
}

// What an image's header may say: nothing is taken on trust.
TEST_F(NameTest, HostileNamesAreRefused) {
  const Profile& profile = graph_.profile();
  for (const char* name :
       {"json:{'driver':'raw','file':{}}", "json:{'driver':'raw','file':{'file':{}}}",
        "blkdebug::json:{}", "json:{'driver':'blkdebug','image':{'image':{}}}", "json:{'':{'':1}}",
        "json:{'driver':'qcow2','file':{'driver':'file','filename':'/a'},'backing':{}}",
        "json:{'driver':'blkdebug','image':{'driver':'file','filename':'/a'},'inject-error':5}"}) {
    EXPECT_FALSE(options_of_protocol(name, profile)) << name;
    EXPECT_FALSE(named(name)) << name;
    EXPECT_FALSE(named(name, kQcow2)) << name;
  }
}

}  // namespace
}  // namespace sim::driver
