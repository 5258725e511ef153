#include "conformance/scenario/load.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace conformance {
namespace {

using testing::HasSubstr;

std::string read_file(const std::string& name) {
  const std::ifstream file(UNDERSTUDY_SOURCE_DIR "/" + name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

const std::string& schema() {
  static const std::string text = read_file("scenarios/scenario.schema.json");
  return text;
}

InputResult<LoadedFile> load(const std::string& text) {
  return load_scenarios(text, "x", "x.json", schema());
}

// The message for a file that must be refused.
std::string refusal(const std::string& text) {
  const InputResult<LoadedFile> loaded = load(text);
  return loaded ? "accepted" : to_string(loaded.error());
}

// A small file with one image, one disk and these steps.
std::string with_steps(const std::string& steps) {
  return R"({"title": "t", "because": "b", "images": {"a": {"format": "raw", "size": "1M"}},
             "disks": [{"target": "vda", "source": "a"}], "steps": [)" +
         steps + "]}";
}
std::string with_images(const std::string& images) {
  return R"({"title": "t", "because": "b", "steps": [], "images": {)" + images + "}}";
}

TEST(Load, EveryKindOfStep) {
  const auto loaded = load(R"({
    // Both kinds of comment.
    "title": "All steps", /* here */ "because": "the language",
    "images": {
      "top": {"format": "qcow2", "size": "1M", "cluster_size": 4096, "backing": "below",
              "file": "top.qcow2",
              "writes": [{"write": 3, "at": "64k", "length": 512},
                         {"zero": true, "at": 0, "length": "4k"},
                         {"discard": true, "at": "8k", "length": "4k"}]},
      "below": {"format": "raw", "size": 1048576}
    },
    "disks": [{"target": "vda", "source": "top"}],
    "steps": [
      {"call": "blockRebase", "disk": "vda", "base": "${dir}/copy", "bandwidth": 1,
       "flags": ["copy", "shallow"],
       "expect": {"error": {"domain": "QEMU", "code": "INVALID_ARG", "message": "no ${dir}/x"}}},
      {"call": "blockRebase", "disk": "vda", "base": null},
      {"call": "blockJobAbort", "disk": "vda", "flags": ["pivot", "async"], "expect": {"ok": true}},
      {"call": "blockJobSetSpeed", "disk": "vda", "bandwidth": "1k", "flags": ["bandwidth-bytes"]},
      {"qmp": "query-jobs"},
      {"qmp": "blockdev-add", "arguments": {"driver": "file", "filename": "${dir}/x"},
       "expect": {"return": {}}},
      {"guest": "write", "disk": "vda", "at": "128k", "length": "64k", "pattern": 9},
      {"guest": "flush", "disk": "vda"},
      {"guest": "read", "disk": "vda", "at": 0, "length": 512, "pattern": 0},
      {"wait": "ready", "disk": "vda"},
      {"wait-event": "JOB_STATUS_CHANGE", "data": {"status": "ready"}},
      {"check": "vda", "guest": "1*64k 0*960k", "chain": ["copy"]}
    ]})");
  ASSERT_TRUE(loaded) << to_string(loaded.error());
  ASSERT_EQ(loaded->scenarios.size(), 1);
  const Scenario& scenario = loaded->scenarios[0];
  EXPECT_EQ(scenario.id, "x");
  EXPECT_EQ(scenario.title, "All steps");
  EXPECT_EQ(scenario.because, "the language");
  const std::vector<Image> images = {{.name = "below",
                                      .file = "below",
                                      .format = Image::Format::raw,
                                      .size = 1048576,
                                      .backing = {},
                                      .writes = {}},
                                     {.name = "top",
                                      .file = "top.qcow2",
                                      .format = Image::Format::qcow2,
                                      .size = 1048576,
                                      .cluster_size = 4096,
                                      .backing = "below",
                                      .writes = {{Write::Kind::data, 65536, 512, 3},
                                                 {Write::Kind::zero, 0, 4096, 0},
                                                 {Write::Kind::discard, 8192, 4096, 0}}}};
  EXPECT_EQ(scenario.images, images);
  EXPECT_EQ(scenario.disks, (std::vector<Disk>{{"vda", "top"}}));
  ASSERT_EQ(scenario.steps.size(), 12);
  const auto& rebase = std::get<CallStep>(scenario.steps[0].action);
  EXPECT_EQ(rebase.api, CallStep::Api::block_rebase);
  EXPECT_EQ(rebase.base, "${dir}/copy");
  EXPECT_EQ(rebase.bandwidth, 1);
  EXPECT_EQ(rebase.flags, (std::vector<std::string>{"copy", "shallow"}));
  EXPECT_EQ(rebase.expect, CallExpectation(DomainError{"QEMU", "INVALID_ARG", "no ${dir}/x"}));
  EXPECT_EQ(std::get<CallStep>(scenario.steps[1].action).base, std::nullopt);
  EXPECT_EQ(std::get<CallStep>(scenario.steps[1].action).expect, std::nullopt);
  const auto& abort = std::get<CallStep>(scenario.steps[2].action);
  EXPECT_EQ(abort.api, CallStep::Api::block_job_abort);
  EXPECT_EQ(abort.expect, CallExpectation());
  EXPECT_EQ(std::get<CallStep>(scenario.steps[3].action).bandwidth, 1024);
  EXPECT_TRUE(std::get<QmpStep>(scenario.steps[4].action).arguments.is_null());
  EXPECT_EQ(std::get<QmpStep>(scenario.steps[5].action).arguments["filename"], "${dir}/x");
  const auto& write = std::get<GuestStep>(scenario.steps[6].action);
  EXPECT_EQ(write.offset, 131072);
  EXPECT_EQ(write.pattern, 9);
  EXPECT_EQ(std::get<GuestStep>(scenario.steps[7].action).operation, GuestStep::Operation::flush);
  EXPECT_EQ(std::get<GuestStep>(scenario.steps[8].action).operation, GuestStep::Operation::read);
  EXPECT_EQ(std::get<WaitStep>(scenario.steps[9].action).status, "ready");
  EXPECT_EQ(std::get<WaitStep>(scenario.steps[10].action).event, "JOB_STATUS_CHANGE");
  EXPECT_EQ(std::get<CheckStep>(scenario.steps[11].action).chain,
            (std::vector<std::string>{"copy"}));
  EXPECT_EQ(scenario.steps[11].place, "/steps/11");

  // Written and read again it is the same, to the byte.
  const std::string text = to_json_text(scenario);
  const auto again = load(text);
  ASSERT_TRUE(again) << to_string(again.error());
  EXPECT_EQ(again->scenarios[0].images, scenario.images);
  EXPECT_EQ(again->scenarios[0].disks, scenario.disks);
  EXPECT_EQ(to_json_text(again->scenarios[0]), text);
}

TEST(Load, TheRecipeOfACopy) {
  const std::string head = R"({"title": "t", "because": "b", )";
  const std::string rest = R"("images": {"a": {"format": "raw", "size": "1M"}},
    "disks": [{"target": "vda", "source": "a"}], "steps": [{"check": "vda"}]})";
  EXPECT_EQ(load(head + rest)->scenarios[0].recipe, CopyRecipe::blockdev);
  const auto loaded = load(head + R"("recipe": "drive", )" + rest);
  ASSERT_TRUE(loaded) << to_string(loaded.error());
  EXPECT_EQ(loaded->scenarios[0].recipe, CopyRecipe::drive);
  const auto again = load(to_json_text(loaded->scenarios[0]));
  ASSERT_TRUE(again) << to_string(again.error());
  EXPECT_EQ(again->scenarios[0].recipe, CopyRecipe::drive);
  EXPECT_FALSE(load(head + R"("recipe": "nbd", )" + rest));
}

TEST(Load, WhereABlockCopyGoes) {
  const auto loaded = load(R"({"title": "t", "because": "b", "persistent": true,
    "images": {"a": {"format": "raw", "size": "1M"}}, "disks": [{"target": "vda", "source": "a"}],
    "steps": [
      {"call": "blockCopy", "disk": "vda", "granularity": "64k", "buf-size": "1M", "bandwidth": 7,
       "destination": {"file": "${dir}/copy", "format": "qcow2",
                       "backing": [{"file": "${dir}/b", "format": "raw"}, "none"]},
       "flags": ["shallow", "reuse-ext", "transient-job", "synchronous-writes"]},
      {"call": "blockCopy", "disk": "vda", "destination": {"dev": "${dir}/copy"}},
      {"call": "blockCopy", "disk": "vda", "destination": {"xml": "<disk type='file'/>"}}
    ]})");
  ASSERT_TRUE(loaded) << to_string(loaded.error());
  const Scenario& scenario = loaded->scenarios[0];
  EXPECT_TRUE(scenario.persistent);
  const auto& full = std::get<CallStep>(scenario.steps[0].action);
  CopyDestination expected;
  expected.path = "${dir}/copy";
  expected.format = CopyDestination::Format::qcow2;
  expected.backing = {{"${dir}/b", Image::Format::raw}};
  expected.terminated = true;
  EXPECT_EQ(full.destination, expected);
  EXPECT_EQ(full.granularity, 65536);
  EXPECT_EQ(full.buf_size, 1048576);
  EXPECT_EQ(full.bandwidth, 7);
  const auto& device = std::get<CallStep>(scenario.steps[1].action);
  EXPECT_TRUE(device.destination.is_device);
  EXPECT_EQ(device.destination.path, "${dir}/copy");
  const auto& document = std::get<CallStep>(scenario.steps[2].action);
  EXPECT_EQ(document.destination.xml, "<disk type='file'/>");
  const auto again = load(to_json_text(scenario));
  ASSERT_TRUE(again) << to_string(again.error());
  EXPECT_TRUE(again->scenarios[0].persistent);
  for (std::size_t i = 0; i < 3; ++i)
    EXPECT_EQ(std::get<CallStep>(again->scenarios[0].steps[i].action).destination,
              std::get<CallStep>(scenario.steps[i].action).destination);
}

TEST(Load, ABlockCopyThatMeansNothing) {
  const auto refused = [](const std::string& members) {
    return refusal(with_steps(R"({"call": "blockCopy", "disk": "vda")" + members + "}"));
  };
  EXPECT_THAT(refused(""), HasSubstr("a member \"destination\""));
  EXPECT_THAT(refused(R"(, "destination": {"format": "raw"})"), HasSubstr("one of file, dev, xml"));
  EXPECT_THAT(refused(R"(, "destination": {"file": "${dir}/a", "backing": ["none", "none"]})"),
              HasSubstr("at the end only"));
  EXPECT_THAT(refused(R"(, "destination": {"file": "${dir}/a"}, "granularity": "4G")"),
              HasSubstr("a size below 4G"));
  EXPECT_THAT(refused(R"(, "destination": {"file": "/etc/x"})"),
              HasSubstr("a path beneath ${dir}"));
  EXPECT_THAT(refused(R"(, "destination": {"file": "${dir}/a", "backing":
                         [{"file": "${dir}/../x", "format": "raw"}]})"),
              HasSubstr("a path beneath ${dir}"));
  for (const char* xml : {"<disk><source file='/etc/x'/></disk>", "<source file='&#47;x'/>",
                          "<disk><source><host name='elsewhere'/></source></disk>"})
    EXPECT_THAT(refused(R"(, "destination": {"xml": ")" + std::string(xml) + "\"}"),
                HasSubstr("files beneath ${dir} only"))
        << xml;
  EXPECT_THAT(refusal(with_steps(R"({"call": "blockPull", "disk": "vda", "granularity": 512})")),
              HasSubstr("no such member for blockPull"));
}

TEST(Load, LeasesOfOthers) {
  const std::string before =
      R"({"title": "t", "because": "b", "images": {"base": {"format": "raw", "size": "1M"},
          "top": {"format": "qcow2", "size": "1M", "backing": "base"}},
          "disks": [{"target": "vda", "source": "top"}], "steps": [{"check": "vda"}])";
  const auto load_leases = [&](const std::string& leases) { return load(before + leases + "}"); };
  EXPECT_FALSE(load_leases("")->scenarios[0].leases);
  EXPECT_EQ(load_leases(R"(, "leases": [])")->scenarios[0].leases, std::vector<OtherLease>());
  const auto loaded = load_leases(
      R"(, "leases": [{"file": "base", "holder": "pool", "mode": "shared"},
                      {"file": "copy", "holder": "pool", "mode": "exclusive"}])");
  ASSERT_TRUE(loaded) << to_string(loaded.error());
  const std::vector<OtherLease> leases = {{"base", "pool", LeaseMode::shared},
                                          {"copy", "pool", LeaseMode::exclusive}};
  EXPECT_EQ(loaded->scenarios[0].leases, leases);
  const auto again = load(to_json_text(loaded->scenarios[0]));
  ASSERT_TRUE(again) << to_string(again.error());
  EXPECT_EQ(again->scenarios[0].leases, leases);
  EXPECT_EQ(load(to_json_text(load_leases(R"(, "leases": [])")->scenarios[0]))->scenarios[0].leases,
            std::vector<OtherLease>());

  const auto place_of = [&](const std::string& leases_text) {
    const auto refused = load_leases(R"(, "leases": [)" + leases_text + "]");
    return refused ? "" : refused.error().place;
  };
  const auto lease = [](const char* file, const char* holder, const char* mode) {
    return std::string(R"({"file": ")") + file + R"(", "holder": ")" + holder + R"(", "mode": ")" +
           mode + R"("})";
  };
  EXPECT_EQ(place_of(lease("a/b", "pool", "shared")), "/leases/0/file");
  EXPECT_EQ(place_of(lease("base", "", "shared")), "/leases/0/holder");
  EXPECT_EQ(place_of(lease("base", "domain/vda", "shared")), "/leases/0/holder");
  EXPECT_EQ(place_of(lease("base", "pool", "both")), "/leases/0/mode");
  // The domain could not start.
  EXPECT_EQ(place_of(lease("base", "pool", "exclusive")), "/leases/0");
  EXPECT_EQ(place_of(lease("top", "pool", "shared")), "/leases/0");
  EXPECT_EQ(place_of(lease("x", "a", "shared") + "," + lease("x", "b", "exclusive")), "/leases/1");
  EXPECT_EQ(place_of(lease("x", "a", "shared") + "," + lease("x", "a", "shared")), "/leases/1");
  EXPECT_EQ(load(R"({"title": "t", "because": "b", "leases": [], "steps": []})").error().place,
            "/leases");
}

TEST(Load, WritesOneLineForEachPiece) {
  const auto loaded = load(with_steps(R"({"wait": "ready", "disk": "vda"})"));
  ASSERT_TRUE(loaded) << to_string(loaded.error());
  EXPECT_EQ(to_json_text(loaded->scenarios[0]), R"({
  "title": "t",
  "because": "b",
  "images": {
    "a": {"format": "raw", "size": "1M"}
  },
  "disks": [
    {"target": "vda", "source": "a"}
  ],
  "steps": [
    {"wait": "ready", "disk": "vda"}
  ]
}
)");
}

TEST(Load, SyntaxIsToldWithLineAndColumn) {
  EXPECT_THAT(refusal("{\n  \"title\": ]\n}"),
              HasSubstr("x.json: line 2, column 12: expected JSON"));
  EXPECT_THAT(refusal(""), HasSubstr("line 1, column 1: expected JSON"));
  EXPECT_THAT(refusal("{} {}"), HasSubstr("line 1, column 4"));
  EXPECT_THAT(refusal(R"({"a": 1e999})"), HasSubstr("number overflow"));
  EXPECT_THAT(refusal("{\"a\": \"\xff\"}"), HasSubstr("line 1, column 8"));
}

TEST(Load, LimitsOfTheText) {
  EXPECT_THAT(refusal(R"({"title": "a", "images": {"x/y": {"size": 1, "size": 2}}})"),
              HasSubstr("x.json: /images/x~1y/size: expected this key only once"));
  EXPECT_THAT(refusal(std::string(100'000, '[')), HasSubstr("at most 64 levels"));
  EXPECT_THAT(refusal("{\"title\": \"" + std::string(5000, 'x') + "\"}"),
              HasSubstr("/title: expected a string of at most 4096 bytes"));
}

TEST(Load, ShapeIsToldInTheSchemasWords) {
  EXPECT_THAT(refusal("[]"), HasSubstr("expected a scenario: an object"));
  EXPECT_THAT(refusal(R"({"title": "t", "steps": []})"),
              HasSubstr("x.json: expected a member \"because\": a source"));
  EXPECT_THAT(refusal(R"({"title": "t", "because": "b", "steps": [], "step": 1})"),
              HasSubstr("/step: expected no such member here, only: "));
  EXPECT_THAT(refusal(with_steps(R"({"calls": "blockRebase"})")),
              HasSubstr("/steps/0: expected a step: an object with one of call, qmp"));
  EXPECT_THAT(refusal(with_steps(R"({"call": "blockRebaze", "disk": "vda"})")),
              HasSubstr("/steps/0/call: expected one of blockRebase, blockJobAbort"));
  EXPECT_THAT(refusal(with_steps(R"({"call": "blockJobAbort"})")),
              HasSubstr("/steps/0: expected a member \"disk\": the target of a disk"));
  EXPECT_THAT(
      refusal(with_steps(R"({"call": "blockJobAbort", "disk": "vda", "flags": ["pivots"]})")),
      HasSubstr("/steps/0/flags/0: expected a flag: copy"));
  EXPECT_THAT(refusal(with_steps(R"({"call": "blockJobAbort", "disk": "vda", "flagz": []})")),
              HasSubstr("/steps/0/flagz: expected no such member here"));
  EXPECT_THAT(refusal(with_images(R"("a": {"format": "qcow", "size": 1})")),
              HasSubstr("/images/a/format: expected \"raw\" or \"qcow2\"; found \"qcow\""));
  EXPECT_THAT(refusal(with_images(R"("a": {"format": "raw", "size": "1.5M"})")),
              HasSubstr("/images/a/size: expected a size"));
  EXPECT_THAT(refusal(with_images(R"("a": {"format": "raw", "size": -1})")),
              HasSubstr("/images/a/size: expected a size"));
  EXPECT_THAT(refusal(with_images(R"("a": {"format": "raw", "size": 1.5})")),
              HasSubstr("/images/a/size: expected a size"));
  EXPECT_THAT(
      refusal(with_images(
          R"("a": {"format": "raw", "size": 1, "writes": [{"write":256, "at": 0, "length": 1}]})")),
      HasSubstr("/images/a/writes/0/write: expected a byte"));
}

TEST(Load, Images) {
  const auto image = [](const std::string& members) {
    return refusal(with_images("\"a\": {" + members + "}"));
  };
  EXPECT_THAT(image(R"("format": "qcow2", "size": "65M")"),
              HasSubstr("/images/a/size: expected a size of at most 64M"));
  EXPECT_THAT(image(R"("format": "qcow2", "size": 1000)"), HasSubstr("multiple of 512"));
  EXPECT_EQ(image(R"("format": "raw", "size": 1000)"), "accepted");
  EXPECT_EQ(image(R"("format": "raw", "size": 0)"), "accepted");
  for (const char* good : {"512", "\"64k\"", "\"2M\""})
    EXPECT_EQ(image(fmt::format(R"("format": "qcow2", "size": 512, "cluster_size": {})", good)),
              "accepted");
  for (const char* bad : {"256", "1000", "\"4M\"", "0"})
    EXPECT_THAT(image(fmt::format(R"("format": "qcow2", "size": 512, "cluster_size": {})", bad)),
                HasSubstr("/images/a/cluster_size: expected a power of two from 512 to 2M"));
  EXPECT_THAT(image(R"("format": "raw", "size": 512, "cluster_size": 512)"),
              HasSubstr("no cluster size"));
  EXPECT_THAT(image(R"("format": "qcow2", "size": 512, "backing": "b")"),
              HasSubstr("/images/a/backing: expected the name of an image, not \"b\""));
  EXPECT_THAT(image(R"("format": "qcow2", "size": 512, "backing": "a")"), HasSubstr("not a cycle"));
  for (const char* bad : {"../a", "..", ".", "/etc/passwd", "b/c", "", "b\\u0000c"})
    EXPECT_THAT(image(fmt::format(R"("format": "raw", "size": 512, "file": "{}")", bad)),
                HasSubstr("/images/a/file: expected the name of a file in ${dir}"));
  const auto write = [&](const char* at, const char* length) {
    return image(fmt::format(
        R"("format": "raw", "size": "1M", "writes": [{{"write": 1, "at": {}, "length": {}}}])", at,
        length));
  };
  EXPECT_EQ(write("1048575", "1"), "accepted");
  EXPECT_THAT(
      write("1048575", "2"),
      HasSubstr("/images/a/writes/0: expected a write of at least one byte within the image's 1M"));
  EXPECT_THAT(write("18446744073709551615", "2"), HasSubstr("within the image's 1M"));
  EXPECT_THAT(write("0", "0"), HasSubstr("at least one byte"));
}

TEST(Load, ImagesTogether) {
  EXPECT_THAT(refusal(with_images(R"("a": {"format": "qcow2", "size": 512, "backing": "b"},
                                     "b": {"format": "qcow2", "size": 512, "backing": "c"},
                                     "c": {"format": "qcow2", "size": 512, "backing": "b"})")),
              HasSubstr("not a cycle"));
  EXPECT_THAT(refusal(with_images(R"("a": {"format": "raw", "size": 512, "backing": "b"},
                                     "b": {"format": "raw", "size": 512})")),
              HasSubstr("/images/a/backing: expected no backing image for a raw one"));
  EXPECT_THAT(refusal(with_images(R"("a": {"format": "qcow2", "size": 512, "backing": "b"},
                                     "b": {"format": "raw", "size": 100})")),
              HasSubstr("/images/b/size: expected a multiple of 512"));
  EXPECT_THAT(refusal(with_images(R"("a": {"format": "raw", "size": 512, "file": "b"},
                                     "b": {"format": "raw", "size": 512})")),
              HasSubstr("a file of its own for each image"));
}

TEST(Load, StepsMeanSomething) {
  const auto step = [](const std::string& text) { return refusal(with_steps(text)); };
  EXPECT_THAT(step(R"({"wait": "ready", "disk": "vdb"})"),
              HasSubstr("/steps/0/disk: expected the target of a disk, not \"vdb\""));
  EXPECT_THAT(step(R"({"check": "vdb"})"), HasSubstr("/steps/0/check"));
  EXPECT_THAT(step(R"({"call": "blockJobAbort", "disk": "vdb"})"), HasSubstr("/steps/0/disk"));
  // A call that must fail may name a disk that is not there.
  EXPECT_EQ(step(R"({"call": "blockJobAbort", "disk": "vdb",
                     "expect": {"error": {"domain": "QEMU", "code": "X", "message": "m"}}})"),
            "accepted");
  EXPECT_THAT(step(R"({"call": "blockJobAbort", "disk": "vda", "flags": ["copy"]})"),
              HasSubstr("/steps/0/flags/0: expected one of async, pivot"));
  EXPECT_THAT(step(R"({"call": "blockJobAbort", "disk": "vda", "flags": ["pivot", "pivot"]})"),
              HasSubstr("the flag \"pivot\" once"));
  EXPECT_THAT(step(R"({"call": "blockRebase", "disk": "vda"})"), HasSubstr("a member \"base\""));
  EXPECT_THAT(step(R"({"call": "blockJobSetSpeed", "disk": "vda"})"), HasSubstr("\"bandwidth\""));
  EXPECT_THAT(
      step(R"({"call": "blockJobAbort", "disk": "vda", "expect": {"error": {"domain": "QEMU"}}})"),
      HasSubstr("/steps/0/expect/error/code"));
  EXPECT_THAT(step(R"({"call": "blockJobAbort", "disk": "vda", "expect": {"ok": false}})"),
              HasSubstr("/steps/0/expect: expected"));
  EXPECT_THAT(step(R"({"guest": "write", "disk": "vda", "at": 0, "length": 512})"),
              HasSubstr("/steps/0/pattern: expected a byte"));
  EXPECT_THAT(step(R"({"guest": "flush", "disk": "vda", "at": 0})"), HasSubstr("/steps/0/at"));
  EXPECT_THAT(step(R"({"guest": "zero", "disk": "vda", "at": "1M", "length": 512})"),
              HasSubstr("/steps/0: expected a range of at least one byte within the disk's 1M"));
  EXPECT_THAT(step(R"({"check": "vda", "guest": "1*64k, 2*64k"})"), HasSubstr("/steps/0/guest"));
  EXPECT_THAT(step(R"({"check": "vda", "guest": "256*64k"})"), HasSubstr("/steps/0/guest"));
  EXPECT_THAT(step(R"({"check": "vda", "chain": ["../a"]})"), HasSubstr("/steps/0/chain/0"));
}

TEST(Load, TheDialectAllowsCallsThatLibvirtNeverHad) {
  const auto step = [](const std::string& text, const std::string& more = "") {
    std::string whole = with_steps(text);
    return refusal(whole.substr(0, whole.size() - 1) + more + "}");
  };
  const std::string proposed = R"(, "dialect": "as-proposed")";
  for (const char* call :
       {R"({"call": "pull", "disk": "vda", "cursor": null})",
        R"({"call": "pull", "disk": "vda", "cursor": "512k", "flags": ["continuous"]})",
        R"({"call": "pullAll", "disk": "vda"})", R"({"call": "pullInfo", "disk": "vda"})",
        R"({"call": "pullAbort", "disk": "vda"})"}) {
    EXPECT_THAT(step(call), HasSubstr("/steps/0/call: expected a call that libvirt has")) << call;
    EXPECT_THAT(step(call, R"(, "dialect": "as-libvirt")"), HasSubstr("/steps/0/call")) << call;
    EXPECT_EQ(step(call, proposed), "accepted") << call;
  }
  EXPECT_THAT(step("", R"(, "dialect": "as-wished")"), HasSubstr("/dialect: expected"));
  EXPECT_THAT(step(R"({"call": "pull", "disk": "vda"})", proposed), HasSubstr("\"cursor\""));
  EXPECT_THAT(step(R"({"call": "pull", "disk": "vda", "cursor": 0, "bandwidth": 1})", proposed),
              HasSubstr("/steps/0/bandwidth"));
  EXPECT_THAT(step(R"({"call": "pullAll", "disk": "vda", "cursor": 0})", proposed),
              HasSubstr("/steps/0/cursor"));
  EXPECT_THAT(step(R"({"call": "pullAll", "disk": "vda", "flags": ["continuous"]})", proposed),
              HasSubstr("/steps/0/flags/0"));
  EXPECT_THAT(step(R"({"call": "blockRebase", "disk": "vda", "flags": ["base-xml"],
                       "base": "<source file='/etc/passwd'/>"})",
                   proposed),
              HasSubstr("/steps/0/base: expected a path beneath ${dir}"));
  EXPECT_THAT(step(R"({"call": "blockRebase", "disk": "vda", "flags": ["base-xml"],
                       "base": "<source file='${dir}/../a'/>"})",
                   proposed),
              HasSubstr("/steps/0/base"));
}

TEST(Load, NothingLeavesTheDirectory) {
  const auto base = [](const std::string& path) {
    return refusal(
        with_steps(R"({"call": "blockRebase", "disk": "vda", "base": ")" + path + "\"}"));
  };
  for (const char* good : {"${dir}/copy", "${dir}/sub/copy", "${dir}/..copy", "copy", ""})
    EXPECT_EQ(base(good), "accepted") << good;
  for (const char* bad : {"/etc/passwd", "${dir}", "${dir}/", "${dir}x", "${dir}/../x",
                          "${dir}/a/..", "../x", "a/../../x", "${dir}/${dir}/x"})
    EXPECT_THAT(base(bad), HasSubstr("/steps/0/base: expected a path beneath ${dir}")) << bad;

  const auto qmp = [](const std::string& key, const std::string& text) {
    return refusal(
        with_steps(R"({"qmp": "x", "arguments": {"a": [{")" + key + R"(": ")" + text + "\"}]}}"));
  };
  for (const char* good : {"${dir}/copy", "node-1", "/machine/peripheral/x", "1/2",
                           "qemu-io -d /machine/peripheral/x \\\"write 0 64k\\\""})
    EXPECT_EQ(qmp("device", good), "accepted") << good;
  for (const char* bad : {"/etc/passwd", "file:/etc/passwd", "nbd://host/x", "${dir}/../x", "../x",
                          "json:{\\\"filename\\\":\\\"/etc/passwd\\\"}", "${dir}", "x /etc/passwd"})
    EXPECT_THAT(qmp("device", bad),
                HasSubstr("/steps/0/arguments/a/0/device: expected files beneath"))
        << bad;
  for (const char* good :
       {"${dir}/copy", "file:${dir}/copy", "null-co://", "nosuch:copy", "blkdebug::${dir}/copy",
        "blkdebug:copy", "json:{'file.filename':'${dir}/copy'}", "json:{'filename':5}"})
    EXPECT_EQ(qmp("filename", good), "accepted") << good;
  for (const char* bad : {"copy", "file:copy", "blkdebug:copy:${dir}/copy", "blkdebug::copy", "",
                          "json:{'filename':'copy'}", "json:{'filename':'file:copy'}",
                          "json:{\\\"filename\\\":\\\"copy\\\"}"})
    EXPECT_THAT(qmp("filename", bad), HasSubstr("a path that begins with ${dir}/")) << bad;
}

TEST(Load, VariablesNeedAMatrix) {
  EXPECT_THAT(refusal(with_steps(R"({"call": "blockRebase", "disk": "vda", "base": "${dri}/x"})")),
              HasSubstr("/steps/0/base: expected a variable that is defined, not `${dri}`"));
  EXPECT_THAT(refusal(with_steps(R"({"call": "blockRebase", "disk": "vda", "base": "${dir/x"})")),
              HasSubstr("a `}` after `${`"));
  EXPECT_THAT(refusal(with_steps(R"({"part": "end"})")), HasSubstr("parts that are defined"));
}

TEST(Load, ABrokenSchemaIsToldAsSuch) {
  const auto loaded = load_scenarios("{}", "x", "x.json", R"({"type": 5})");
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().file, "scenario.schema.json");
}

}  // namespace
}  // namespace conformance
