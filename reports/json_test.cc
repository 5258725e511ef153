#include "reports/json.h"

#include <gtest/gtest.h>

#include "reports/example.h"
#include "sim/base/json.h"

namespace reports {
namespace {

TEST(JsonReport, AsWritten) {
  EXPECT_EQ(
      to_json(example_run()),
      R"json({
 "understudy": "0.1.0",
 "seed": 7,
 "targets": [
  {"name":"qemu","version":"7.2.22"},
  {"name":"sim:7.2","version":"0.1.0"}
 ],
 "totals": {"conforms":1,"diverges":1,"known":1,"skipped":1,"broken":1},
 "seconds": 1.25,
 "exit_code": 3,
 "normalisations": ["timestamps"],
 "stale_expectations": ["qemu 7.2: a/four"],
 "scenarios": [
  {"id":"a/one","target":"qemu","verdict":"diverges","class":"data",)json"
      R"json("detail":"the guest reads what it wrote",)json"
      R"json("again":"understudy run --seed 7 --target qemu a/one","seconds":0.5,)json"
      R"json("divergences":[{"class":"data",)json"
      R"json("requirement":"the guest reads what it wrote (model.md)",)json"
      R"json("expected":"9*64k","actual":"0*64k\n9*1k",)json"
      R"json("place":"byte 65536, layer \"copy\""},)json"
      R"json({"class":"wording","requirement":"<same> text & class",)json"
      R"json("expected":"a","actual":"b","place":""}],)json"
      R"json("transcript":["-> job-complete {}","<- {\"return\": {}}"]},
  {"id":"a/one","target":"sim:7.2","verdict":"conforms","class":"","detail":"",)json"
      R"json("again":"understudy run --seed 7 --target sim:7.2 a/one",)json"
      R"json("seconds":0.25,"trace_hash":"0000000000000abc"},
  {"id":"a/three","target":"qemu","verdict":"broken","class":"",)json"
      "\"detail\":\"cannot start: \\u001b[31m\uFFFD\","
      R"json("again":"understudy run a/three","seconds":0.0},
  {"id":"a/two","target":"qemu","verdict":"known","class":"events",)json"
      R"json("detail":"5.2 forgets READY","again":"understudy run a/two","seconds":0.125,)json"
      R"json("divergences":[{"class":"events","requirement":"READY comes first",)json"
      R"json("expected":"READY","actual":"nothing","place":""}]},
  {"id":"a/two","target":"sim:7.2","verdict":"skipped","class":"","detail":"no #1 reason",)json"
      R"json("again":"understudy run a/two","seconds":0.0}
 ]
}
)json");
}

// cli.md: the keys that stay.
TEST(JsonReport, HasTheContractsKeys) {
  const sim::Json report = sim::Json::parse(to_json(example_run()));
  for (const char* key : {"understudy", "seed", "targets", "totals", "scenarios"})
    EXPECT_TRUE(report.contains(key)) << key;
  for (const sim::Json& target : report["targets"])
    for (const char* key : {"name", "version"}) EXPECT_TRUE(target.contains(key)) << key;
  for (const char* key : {"conforms", "diverges", "known", "skipped", "broken"})
    EXPECT_EQ(report["totals"][key], 1) << key;
  for (const sim::Json& scenario : report["scenarios"])
    for (const char* key : {"id", "target", "verdict", "class", "detail", "again", "seconds"})
      EXPECT_TRUE(scenario.contains(key)) << key;
}

TEST(JsonReport, NothingRan) {
  const sim::Json report = sim::Json::parse(to_json({}));
  EXPECT_EQ(report["scenarios"], sim::Json::array());
  EXPECT_EQ(report["targets"], sim::Json::array());
  EXPECT_EQ(report["exit_code"], 0);
}

}  // namespace
}  // namespace reports
