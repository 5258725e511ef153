// The program `understudy` itself: exit codes, options and output that scripts rely on.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "conformance/inspect/directory_for_test.h"
#include "sim/base/json.h"

namespace {

namespace fs = std::filesystem;
using sim::Json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kProgram = UNDERSTUDY_PROGRAM;

// A disk of 64 KiB; the steps follow.
std::string scenario(const std::string& steps) {
  return R"({"title": "t", "because": "b",
  "images": {"src": {"format": "qcow2", "size": "64k"}},
  "disks": [{"target": "vda", "source": "src"}],
  "steps": [)" +
         steps + "]}";
}
const std::string kRight = R"({"check": "vda", "guest": "0*64k", "chain": ["src"]})";
const std::string kWrong = R"({"check": "vda", "chain": ["other"]})";

struct Answer {
  int code = -1;
  std::string out, err;
};

class Cli : public ::testing::Test {
 protected:
  // Runs `understudy ARGUMENTS` in the directory, as a shell would.
  Answer understudy(const std::string& arguments, const std::string& environment = {}) const {
    return shell(fmt::format("{} '{}' {}", environment, kProgram, arguments));
  }
  Answer shell(const std::string& command) const {
    const std::string out = outputs_ / "out", err = outputs_ / "err";
    const int status = std::system(
        fmt::format("cd '{}' && {} >'{}' 2>'{}'", directory_.directory(), command, out, err)
            .c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read(out), read(err)};
  }

  static std::string read(const std::string& path) {
    const std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    return std::move(text).str();
  }
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories(fs::path(directory_ / name).parent_path());
    std::ofstream(directory_ / name) << text;
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_.directory()))
      names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
  }
  // Scenarios of our own instead of the shipped ones, which take long to read: g/0 … g/19, h.
  std::string own_root() const {
    for (int i = 0; i < 20; ++i) write(fmt::format("root/g/{:02}.json", i), scenario(kRight));
    write("root/h.json", scenario(kRight));
    fs::copy_file(UNDERSTUDY_SOURCE_DIR "/scenarios/scenario.schema.json",
                  directory_ / "root/scenario.schema.json", fs::copy_options::overwrite_existing);
    return "UNDERSTUDY_SCENARIOS='" + (directory_ / "root") + "'";
  }
  static std::vector<std::string> lines(const std::string& text) {
    std::vector<std::string> all;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) all.push_back(line);
    return all;
  }

  conformance::inspect::TestDirectory directory_, outputs_;
};

// --- usage ---------------------------------------------------------------------------------------

TEST_F(Cli, VersionAndHelp) {
  const Answer version = understudy("--version");
  EXPECT_EQ(version.code, 0);
  EXPECT_EQ(version.out, "understudy " UNDERSTUDY_VERSION "\n");
  EXPECT_EQ(version.err, "");
  const Answer help = understudy("--help");
  EXPECT_EQ(help.code, 0);
  for (const char* command : {"list", "run", "explore", "compare", "image", "qemu"})
    EXPECT_THAT(help.out, HasSubstr(command));
  const Answer run = understudy("run --help");
  EXPECT_EQ(run.code, 0);
  for (const char* option : {"--target", "--seed", "--jobs", "--shard", "--report", "--json",
                             "--junit", "--tap", "--keep", "--allow-skip", "--quiet", "--no-color"})
    EXPECT_THAT(run.out, HasSubstr(option));
}

TEST_F(Cli, BadUsageIsExitCode2AndSaysSoOnStderrOnly) {
  const std::string root = own_root();
  for (const std::string arguments : {"",
                                      "nonsense",
                                      "run --nonsense",
                                      "run --seed many --target sim",
                                      "run --allow-skip all",
                                      "run --target sim --shard 0/4",
                                      "run --target sim --shard 5/4",
                                      "run --target sim --shard 4",
                                      "run --target sim --shard 1/",
                                      "run --target sim --shard 1/4x",
                                      "run --target sim --shard -1/4",
                                      "run --target",
                                      "run --target sim --no-normalise none",
                                      "run --target simulator",
                                      "run --target sim:9.9",
                                      "compare --left sim",
                                      "run --target sim no/such",
                                      "list no/such",
                                      "run --target sim missing.json",
                                      "run --target sim g/0"}) {
    const Answer answer = understudy(arguments, root);
    EXPECT_EQ(answer.code, 2) << arguments;
    EXPECT_EQ(answer.out, "") << arguments;
    EXPECT_NE(answer.err, "") << arguments;
  }
  EXPECT_THAT(understudy("run --target sim no/such", root).err, HasSubstr("'no/such'"));
  EXPECT_THAT(understudy("run --target sim missing.json", root).err, HasSubstr("missing.json: "));
  EXPECT_THAT(understudy("run --target simulator", root).err,
              AllOf(HasSubstr("--target simulator"), HasSubstr("qemu:VERSION")));
  EXPECT_THAT(understudy("run --target sim --no-normalise none", root).err,
              HasSubstr("drain-pairs"));
}

TEST_F(Cli, ALibvirtThatIsNotThereFailsOrIsSkippedByName) {
  const std::string root = own_root();
  for (const std::string spec : {"libvirt:0.1", "libvirt:qemu:///system"}) {
    const Answer answer = understudy("run --target " + spec + " g/01", root);
    EXPECT_EQ(answer.code, 3) << spec;
    EXPECT_EQ(answer.out, "") << spec;
    EXPECT_THAT(answer.err, AllOf(StartsWith("understudy: --target " + spec),
                                  HasSubstr("--allow-skip no-libvirt")));
    EXPECT_EQ(lines(answer.err).size(), 1U) << spec;
    EXPECT_EQ(understudy("run --allow-skip no-libvirt --target " + spec + " g/01", root).code, 0);
  }
}

TEST_F(Cli, SimulatesTheReleaseThatIsAskedFor) {
  const std::string root = own_root();
  for (const std::string release : {"5.2", "7.2", "10.0", "11.1"}) {
    const Answer answer = understudy("run --target sim:" + release + " g/01", root);
    EXPECT_THAT(answer.out, HasSubstr("simulated " + release + "."));
    EXPECT_EQ(answer.err, "");
  }
  const Answer unknown = understudy("run --target sim:6.0", root);
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("there are sim:5.2, sim:7.2, sim:10.0, sim:11.1"));
}

// --- names ---------------------------------------------------------------------------------------

TEST_F(Cli, ListPrintsIdsOfScenariosGroupsAndFiles) {
  const std::string root = own_root();
  write("mine.json", scenario(kRight));
  const Answer all = understudy("list", root);
  EXPECT_EQ(all.code, 0);
  EXPECT_EQ(lines(all.out).size(), 21U);
  EXPECT_TRUE(std::ranges::is_sorted(lines(all.out)));
  EXPECT_THAT(all.err, HasSubstr("21 scenarios"));
  EXPECT_EQ(understudy("list --quiet", root).err, "");
  EXPECT_EQ(lines(understudy("list g", root).out).size(), 20U);
  EXPECT_EQ(lines(understudy("list g/", root).out).size(), 20U);
  EXPECT_EQ(understudy("list g/07", root).out, "g/07\n");
  EXPECT_EQ(understudy("list mine.json", root).out, "mine\n");
  EXPECT_EQ(understudy("list h g/07 h g/07 mine.json mine.json ./mine.json", root).out,
            "g/07\nh\nmine\n")
      << "each once, sorted";
  EXPECT_EQ(understudy("list root/g/07.json g/07", root).out, "g/07\n")
      << "beneath the root a file is what its id names, so that what is known of it applies";
}

TEST_F(Cli, ListOfTheShippedScenarios) {
  const Answer domain = understudy("list domain");
  EXPECT_EQ(domain.code, 0);
  EXPECT_FALSE(lines(domain.out).empty());
  for (const std::string& id : lines(domain.out)) EXPECT_THAT(id, StartsWith("domain/"));
  const Answer group =
      understudy("list 'matrix/block-copy/src=chain3/shallow+reuse-ext/dest=qcow2-bare'");
  EXPECT_THAT(group.out, HasSubstr("matrix/block-copy/src=chain3/shallow+reuse-ext/dest=qcow2-bare/"
                                   "pivot/write=after-ready\n"));
  EXPECT_THAT(group.out, Not(HasSubstr("chain3-")));
}

TEST_F(Cli, AMatrixInAFileIsRunAndNamedByItsPath) {
  write("dir/m.json", R"({"title": "t", "because": "b",
    "images": {"src": {"format": "${format}", "size": "64k"}},
    "disks": [{"target": "vda", "source": "src"}],
    "steps": [{"check": "vda", "guest": "0*64k"}],
    "matrix": {"axes": [{"name": "format", "values": {
      "raw": {"vars": {"format": "raw"}}, "qcow2": {"vars": {"format": "qcow2"}}}}]}})");
  EXPECT_EQ(understudy("list dir/m.json").out, "dir/m/format=qcow2\ndir/m/format=raw\n");
  EXPECT_EQ(understudy("list dir/m/format=raw").out, "dir/m/format=raw\n");
  write("other/m.json", scenario(kRight));
  EXPECT_EQ(lines(understudy("list dir/m.json other/m.json").out).size(), 3U)
      << "files of the same name in two directories are two";
}

// --- bad scenario files --------------------------------------------------------------------------

struct Broken {
  std::string text;
  std::string place;     // JSON pointer, or line and column
  std::string expected;  // part of what is said
};

TEST_F(Cli, ABrokenScenarioFileIsExitCode2WithFilePointerAndWhatWasExpected) {
  const std::vector<Broken> all = {
      {"{\"title\": ", "", "expected"},
      {"", "", "expected"},
      {R"({"title": "t", "because": "b", "steps": [], "title": "u"})", "/title", "expected"},
      {R"({"title": "t", "because": "b", "steps": [], "stpes": []})", "/stpes", "expected"},
      {R"({"title": 1, "because": "b", "steps": []})", "/title", "expected"},
      {R"({"because": "b", "steps": []})", "", "title"},
      {scenario(
           R"({"call": "blockRebase", "disk": "vda", "base": "${dir}/../x", "flags": ["copy"]})"),
       "/steps/0/base", "expected"},
      {scenario(
           R"({"call": "blockRebase", "disk": "vda", "base": "/etc/passwd", "flags": ["copy"]})"),
       "/steps/0/base", "expected"},
      {scenario(R"({"call": "blockPush", "disk": "vda"})"), "/steps/0/call", "blockRebase"},
      {scenario(R"({"guest": "write", "disk": "vdz", "at": 0, "length": 512, "pattern": 1})"),
       "/steps/0/disk", "expected"},
      {R"({"title": "t", "because": "b", "steps": [],
           "images": {"a": {"format": "raw", "size": 512, "file": "../a"}}})",
       "/images/a/file", "expected"},
      {R"({"title": "t", "because": "b", "steps": [],
           "images": {"a": {"format": "vmdk", "size": 512}}})",
       "/images/a/format", "qcow2"},
  };
  for (const Broken& broken : all) {
    SCOPED_TRACE(broken.text);
    write("broken.json", broken.text);
    write("right.json", scenario(kRight));
    const std::vector<std::string> before = files();
    for (const char* command :
         {"list", "run --target sim --json r.json --report rep --keep kept"}) {
      const Answer answer = understudy(std::string(command) + " right.json broken.json");
      EXPECT_EQ(answer.code, 2);
      EXPECT_EQ(answer.out, "");
      EXPECT_THAT(answer.err, StartsWith("understudy: broken.json: " + broken.place));
      EXPECT_THAT(answer.err, AllOf(HasSubstr("expected"), HasSubstr(broken.expected)));
      EXPECT_EQ(lines(answer.err).size(), 1U) << answer.err;
      EXPECT_EQ(files(), before) << "nothing is written";
    }
  }
}

// --- targets that are not there ------------------------------------------------------------------

TEST_F(Cli, AMissingQemuIsExitCode3WithItsCure) {
  const std::string root = own_root();
  const std::string empty = root + " PATH=/nonexistent";
  const Answer system = understudy("run --target qemu h", empty);
  EXPECT_EQ(system.code, 3);
  EXPECT_EQ(system.out, "");
  EXPECT_THAT(system.err, AllOf(HasSubstr("qemu-system-x86"), HasSubstr("apt-get install"),
                                HasSubstr("--allow-skip no-qemu")));
  const Answer version = understudy("run --target qemu:0.1 h", root);
  EXPECT_EQ(version.code, 3);
  EXPECT_THAT(version.err,
              AllOf(HasSubstr("./dev qemu 0.1"), HasSubstr("--allow-skip no-qemu-version")));
  const Answer path = understudy("run --target qemu:/nonexistent h", root);
  EXPECT_EQ(path.code, 3);
  EXPECT_THAT(path.err, AllOf(HasSubstr("/nonexistent"), HasSubstr("qemu-system-x86_64")));
  // No program at all, and one that is no QEMU.
  EXPECT_EQ(understudy("run --target qemu:/bin/false h", root).code, 3);
  EXPECT_EQ(understudy("compare --left sim --right qemu:/nonexistent h", root).code, 3);
}

TEST_F(Cli, AMissingQemuThatMayBeSkippedIsSkippedWithItsReason) {
  const std::string empty = own_root() + " PATH=/nonexistent";
  const Answer answer =
      understudy("run --target sim --target qemu --allow-skip no-qemu --json r.json h g/01", empty);
  EXPECT_EQ(answer.code, 0) << answer.err;
  EXPECT_THAT(answer.out, AllOf(HasSubstr("skipped"), HasSubstr("apt-get install")));
  const Json report = Json::parse(read(directory_ / "r.json"), nullptr, false);
  EXPECT_EQ(report["totals"]["skipped"], 2);
  EXPECT_EQ(report["totals"]["conforms"], 2);
  for (const Json& one : report["scenarios"])
    if (one["target"] == "qemu") {
      EXPECT_EQ(one["verdict"], "skipped");
      EXPECT_THAT(one.value("detail", ""), HasSubstr("qemu-system-x86_64"));
    }
  // Each is allowed by its own name only.
  EXPECT_EQ(understudy("run --target qemu --allow-skip no-qemu-version h", empty).code, 3);
  EXPECT_EQ(understudy("run --target qemu:0.1 --allow-skip no-qemu h", empty).code, 3);
  EXPECT_EQ(understudy("run --target qemu:0.1 --allow-skip no-qemu-version h", empty).code, 0);
}

// --- running -------------------------------------------------------------------------------------

TEST_F(Cli, AllConformIsExitCode0) {
  const std::string root = own_root();
  const Answer answer = understudy("run --target sim", root);
  EXPECT_EQ(answer.code, 0);
  EXPECT_THAT(answer.out, HasSubstr("21 results"));
  EXPECT_THAT(answer.out, Not(HasSubstr("\x1b"))) << "no colours into a file";
  EXPECT_EQ(answer.err, "");
  const Answer quiet = understudy("run --target sim --quiet", root);
  EXPECT_EQ(quiet.code, 0);
  EXPECT_EQ(quiet.out + quiet.err, "");
}

// The words after `again: `, with this build's program.
std::string again_in(const std::string& text) {
  const std::size_t at = text.find("again: understudy ");
  if (at == std::string::npos) return {};
  const std::string line = text.substr(at, text.find('\n', at) - at);
  return fmt::format("'{}' {}", kProgram, line.substr(std::string("again: understudy ").size()));
}

TEST_F(Cli, AWrongExpectationIsExitCode1AndAgainRepeatsIt) {
  for (const std::string name : {"wrong.json", "sub dir/it's wrong.json", "no-suffix"}) {
    write(name, scenario(kWrong));
    write("right.json", scenario(kRight));
    std::string quoted = "\"" + name + "\"";
    const Answer first =
        understudy("run --target sim --seed 5 --no-normalise progress right.json " + quoted);
    EXPECT_EQ(first.code, 1) << first.err;
    EXPECT_THAT(first.out, AllOf(HasSubstr("chain"), HasSubstr("other"), HasSubstr("src"),
                                 HasSubstr("step 1: check")));
    const std::vector<std::string> told = lines(first.out);
    EXPECT_THAT(told.back(), HasSubstr("again: understudy run ")) << "the last line";
    ASSERT_NE(again_in(first.out), "");
    const Answer second = shell(again_in(first.out));
    EXPECT_EQ(second.code, 1) << again_in(first.out) << second.err;
    EXPECT_EQ(again_in(second.out), again_in(first.out));
    EXPECT_THAT(second.out, HasSubstr("1 results"));
  }
}

TEST_F(Cli, AgainRepeatsOneCombinationOfAMatrixAndAFailedCompare) {
  const std::string root = own_root();
  write("m.json", R"({"title": "t", "because": "b",
    "images": {"src": {"format": "raw", "size": "64k"}},
    "disks": [{"target": "vda", "source": "src"}],
    "steps": [{"check": "vda", "guest": "${guest}"}],
    "matrix": {"axes": [{"name": "x", "values": {
      "1": {"vars": {"guest": "0*64k"}}, "2": {"vars": {"guest": "3*64k"}}}}]}})");
  const Answer first = understudy("run --target sim m.json");
  EXPECT_EQ(first.code, 1);
  EXPECT_THAT(first.out, HasSubstr("2 results"));
  const Answer second = shell(again_in(first.out));
  EXPECT_EQ(second.code, 1);
  EXPECT_THAT(second.out, HasSubstr("1 results"));
  EXPECT_EQ(understudy("compare --left sim --right sim:7.2 h g/01", root).code, 0);
}

TEST_F(Cli, AHangIsADivergenceWithAClassOfItsOwn) {
  write("wrong.json", scenario(kWrong));
  write("hang.json", scenario(R"({"wait-event": "SHUTDOWN"})"));
  const Answer hang = understudy("run --target sim hang.json wrong.json --json r.json");
  EXPECT_EQ(hang.code, 1);
  const Json report = Json::parse(read(directory_ / "r.json"), nullptr, false);
  EXPECT_EQ(report["totals"]["diverges"], 2);
  EXPECT_EQ(report["scenarios"][0]["class"], "hang");
  EXPECT_EQ(report["scenarios"][1]["class"], "chain");
}

// --- reports -------------------------------------------------------------------------------------

TEST_F(Cli, TheJsonReportHasTheKeysOfTheContract) {
  write("wrong.json", scenario(kWrong));
  write("right.json", scenario(kRight));
  const Answer answer =
      understudy("run --target sim --seed 9 --json r.json --quiet wrong.json right.json");
  EXPECT_EQ(answer.code, 1);
  const Json report = Json::parse(read(directory_ / "r.json"), nullptr, false);
  ASSERT_TRUE(report.is_object());
  EXPECT_EQ(report["understudy"], UNDERSTUDY_VERSION);
  EXPECT_EQ(report["seed"], 9);
  ASSERT_EQ(report["targets"].size(), 1U);
  EXPECT_EQ(report["targets"][0]["name"], "sim:7.2");
  EXPECT_THAT(report["targets"][0]["version"].get<std::string>(), HasSubstr("7.2"));
  EXPECT_EQ(report["totals"],
            Json({{"conforms", 1}, {"diverges", 1}, {"known", 0}, {"skipped", 0}, {"broken", 0}}));
  ASSERT_EQ(report["scenarios"].size(), 2U);
  for (const Json& one : report["scenarios"])
    for (const char* key : {"id", "target", "verdict", "class", "detail", "again", "seconds"})
      EXPECT_TRUE(one.contains(key)) << key;
  EXPECT_EQ(report["scenarios"][0]["id"], "right");
  EXPECT_EQ(report["scenarios"][0]["verdict"], "conforms");
  EXPECT_EQ(report["scenarios"][0]["class"], "");
  EXPECT_EQ(report["scenarios"][1]["verdict"], "diverges");
  EXPECT_EQ(report["scenarios"][1]["class"], "chain");
  EXPECT_TRUE(report["scenarios"][1]["seconds"].is_number());
  EXPECT_EQ(report["scenarios"][1]["again"], "understudy run --target sim:7.2 --seed 9 'wrong'");
}

// How many elements of that name there are from `node` on.
int elements(const xmlNode* node, std::string_view name) {
  int count = 0;
  for (; node != nullptr; node = node->next) {
    if (node->type != XML_ELEMENT_NODE) continue;
    const bool same = reinterpret_cast<const char*>(node->name) == name;
    count += (same ? 1 : 0) + elements(node->children, name);
  }
  return count;
}

TEST_F(Cli, ReportsGoWhereTheyAreAsked) {
  write("wrong.json", scenario(kWrong));
  write("right.json", scenario(kRight));
  EXPECT_EQ(understudy("run --target sim --report a/b --junit j.xml wrong.json right.json").code,
            1);
  EXPECT_TRUE(Json::accept(read(directory_ / "a/b/report.json")));
  for (const char* name : {"a/b/junit.xml", "j.xml"}) {
    const std::string xml = read(directory_ / name);
    EXPECT_THAT(xml, AllOf(StartsWith("<?xml"), HasSubstr("<testsuite"), HasSubstr("<failure")));
    xmlDoc* parsed = xmlReadFile((directory_ / name).c_str(), nullptr, XML_PARSE_NONET);
    ASSERT_NE(parsed, nullptr);
    const xmlNode* root = xmlDocGetRootElement(parsed);
    EXPECT_EQ(elements(root, "testcase"), 2);
    EXPECT_EQ(elements(root, "failure"), 1);
    xmlFreeDoc(parsed);
  }
}

TEST_F(Cli, TapIsWellFormed) {
  write("wrong.json", scenario(kWrong));
  write("right.json", scenario(kRight));
  const Answer answer = understudy("run --target sim --tap wrong.json right.json");
  EXPECT_EQ(answer.code, 1);
  const std::vector<std::string> told = lines(answer.out);
  ASSERT_GE(told.size(), 4U);
  EXPECT_EQ(told[0], "TAP version 13");
  EXPECT_EQ(told[1], "1..2");
  EXPECT_EQ(told[2], "ok 1 - sim:7.2 right");
  EXPECT_EQ(told[3], "not ok 2 - sim:7.2 wrong");
  for (std::size_t i = 4; i < told.size(); ++i) EXPECT_THAT(told[i], StartsWith("  ")) << "YAML";
}

TEST_F(Cli, AReportThatCannotBeWrittenIsExitCode3) {
  write("right.json", scenario(kRight));
  write("file", "");
  for (const char* option : {"--json missing/r.json", "--junit missing/j.xml", "--json .",
                             "--report file", "--report file/below"}) {
    const Answer answer = understudy(std::string("run --target sim right.json ") + option);
    EXPECT_EQ(answer.code, 3) << option;
    EXPECT_THAT(answer.err, HasSubstr("cannot write a report: ")) << option;
  }
  EXPECT_THAT(files(), ElementsAre("file", "right.json")) << "nothing half written is left";
}

TEST_F(Cli, KeepKeepsImagesAndTranscript) {
  write("wrong.json", scenario(kWrong));
  EXPECT_EQ(understudy("run --target sim --keep kept wrong.json").code, 1);
  EXPECT_TRUE(fs::exists(directory_ / "kept/wrong/sim_7.2/src"));
  EXPECT_THAT(read(directory_ / "kept/wrong/sim_7.2/transcript.txt"), HasSubstr("-> "));
}

// --- shards and seeds ----------------------------------------------------------------------------

TEST_F(Cli, ShardsAreAPartitionThatTheSeedDraws) {
  const std::string root = own_root();
  const auto ids = [&](const std::string& options) {
    const Answer answer = understudy("run --target sim --quiet --json r.json " + options, root);
    EXPECT_EQ(answer.code, 0) << answer.err;
    std::vector<std::string> found;
    const Json report = Json::parse(read(directory_ / "r.json"), nullptr, false);
    for (const Json& one : report["scenarios"]) found.push_back(one["id"]);
    return found;
  };
  std::vector<std::string> together;
  for (int i = 1; i <= 4; ++i) {
    const auto part = ids(fmt::format("--shard {}/4", i));
    EXPECT_LT(part.size(), 15U);
    std::ranges::copy(part, std::back_inserter(together));
  }
  std::ranges::sort(together);
  EXPECT_EQ(together, ids("")) << "each in exactly one";
  EXPECT_EQ(ids("--shard 1/1"), together);
  EXPECT_EQ(ids("--shard 1/4"), ids("--shard 1/4"));
  EXPECT_NE(ids("--shard 1/4 --seed 1"), ids("--shard 1/4 --seed 2"));
}

TEST_F(Cli, TheSameSeedGivesTheSameTraces) {
  const std::string root = own_root();
  const auto traces = [&](const std::string& options) {
    understudy("run --target sim --quiet --json r.json g/01 g/02 " + options, root);
    std::vector<std::string> found;
    const Json report = Json::parse(read(directory_ / "r.json"), nullptr, false);
    for (const Json& one : report["scenarios"]) found.push_back(one.value("trace_hash", ""));
    return found;
  };
  const auto first = traces("--seed 3 --jobs 1");
  EXPECT_THAT(first, ::testing::Each(Not(IsEmpty())));
  EXPECT_EQ(first, traces("--seed 3 --jobs 4"));
}

}  // namespace
