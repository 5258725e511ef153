// One scenario and many: what is told of one that is wrong, hangs or cannot start, and that the
// others do not notice.

#include "conformance/run/execution.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "conformance/inspect/directory_for_test.h"
#include "conformance/run/scenarios_for_test.h"

namespace conformance {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Matcher;

// A copy of a disk of 1 MiB, its first half written with ones; `steps` follow.
Scenario scenario(const std::string& steps, const std::string& id = "test") {
  const auto scenarios = testing::parse(R"({"title": "t", "because": "b",
      "images": {"src": {"format": "qcow2", "size": "1M",
                         "writes": [{"write": 1, "at": 0, "length": "512k"}]}},
      "disks": [{"target": "vda", "source": "src"}], "steps": [)" +
                                            steps + "]}",
                                        id);
  return scenarios.empty() ? Scenario{} : scenarios.front();
}

const std::string kCopy =
    R"({"call": "blockRebase", "disk": "vda", "base": "${dir}/copy", "flags": ["copy"]})";
const std::string kHeldCopy = R"({"call": "blockRebase", "disk": "vda", "base": "${dir}/copy",
                                  "bandwidth": 1, "flags": ["copy", "bandwidth-bytes"]})";
const std::string kReady = R"({"wait": "ready", "disk": "vda"})";
const std::string kPivot =
    R"({"call": "blockJobAbort", "disk": "vda", "flags": ["pivot"], "expect": {"ok": true}})";

Executed on_simulator(const Scenario& scenario, const ExecutionOptions& options = {},
                      sim::job::MirrorCanary canary = sim::job::MirrorCanary::none) {
  SimTarget target = testing::simulator(canary);
  return execute(scenario, target, options);
}

Matcher<Divergence> divergence(DivergenceClass divergence_class, const std::string& expected,
                               const std::string& actual, const std::string& place) {
  return AllOf(Field("class", &Divergence::divergence_class, divergence_class),
               Field("expected", &Divergence::expected, HasSubstr(expected)),
               Field("actual", &Divergence::actual, HasSubstr(actual)),
               Field("place", &Divergence::place, HasSubstr(place)));
}

TEST(Execute, AScenarioThatIsRight) {
  const Executed executed =
      on_simulator(scenario(kCopy + "," + kReady + "," + kPivot +
                            R"(,{"check": "vda", "guest": "1*512k 0*512k", "chain": ["copy"]},
                  {"guest": "read", "disk": "vda", "at": 0, "length": "512k", "pattern": 1})"));
  EXPECT_THAT(executed.divergences, IsEmpty());
  EXPECT_EQ(executed.broken, "");
  EXPECT_NE(executed.trace_hash, 0U);
  EXPECT_EQ(executed.bytes_hash, 0U) << "not asked for";
  EXPECT_FALSE(executed.transcript.empty());
}

// --- wrong expectations --------------------------------------------------------------------------

TEST(Execute, AWrongErrorWhereTheCallSucceeds) {
  const Executed executed = on_simulator(scenario(
      R"({"call": "blockRebase", "disk": "vda", "base": "${dir}/copy", "flags": ["copy"],
          "expect": {"error": {"domain": "QEMU", "code": "INVALID_ARG", "message": "m"}}})"));
  EXPECT_THAT(executed.divergences, ElementsAre(divergence(DivergenceClass::error, "INVALID_ARG",
                                                           "success", "step 1: blockRebase")));
}

TEST(Execute, SuccessWhereTheCallIsRefused) {
  const Executed executed = on_simulator(scenario(kPivot));
  EXPECT_THAT(executed.divergences,
              ElementsAre(divergence(DivergenceClass::error, "success",
                                     "disk vda does not have an active block job", "step 1")));
}

TEST(Execute, OtherWordsOrAnotherCodeOfARefusal) {
  const auto abort_with = [](const std::string& code, const std::string& message) {
    return on_simulator(scenario(R"({"call": "blockJobAbort", "disk": "vda", "expect": {"error":
        {"domain": "QEMU", "code": ")" +
                                 code + R"(", "message": ")" + message + R"("}}})"))
        .divergences;
  };
  const std::string right = "disk vda does not have an active block job";
  EXPECT_THAT(abort_with("INVALID_ARG", right), IsEmpty());
  EXPECT_THAT(abort_with("INVALID_ARG", "no job"),
              ElementsAre(divergence(DivergenceClass::wording, "no job", right, "step 1")));
  EXPECT_THAT(abort_with("OPERATION_INVALID", right),
              ElementsAre(divergence(DivergenceClass::error, "OPERATION_INVALID", "INVALID_ARG",
                                     "step 1")));
}

TEST(Execute, AWrongChainGuestViewReadAndReply) {
  EXPECT_THAT(on_simulator(scenario(R"({"check": "vda", "chain": ["src", "base"]})")).divergences,
              ElementsAre(divergence(DivergenceClass::chain, "src base", "src", "step 1: check")));
  EXPECT_THAT(on_simulator(scenario(R"({"check": "vda", "guest": "2*1M"})")).divergences,
              ElementsAre(divergence(DivergenceClass::data, "2*1M", "1*512k 0*512k", "step 1")));
  EXPECT_THAT(
      on_simulator(
          scenario(
              R"({"guest": "read", "disk": "vda", "at": "500k", "length": "64k", "pattern": 1})"))
          .divergences,
      ElementsAre(divergence(DivergenceClass::data, "0x01", "something else", "guest I/O")));
  EXPECT_THAT(
      on_simulator(scenario(R"({"qmp": "query-jobs", "expect": {"return": [1]}})")).divergences,
      ElementsAre(divergence(DivergenceClass::error, "[1]", "[]", "query-jobs")));
}

// What is stated of snapshots is looked at, each member by itself.
TEST(Execute, AWrongTreeOfSnapshotsAndAWrongCurrentOne) {
  const std::string made =
      R"({"call": "snapshotCreateXML", "name": "s1", "flags": ["disk-only"]},)";
  const auto on = [&](const std::string& members) {
    return on_simulator(scenario(made + R"({"check": "vda", )" + members + "}")).divergences;
  };
  EXPECT_THAT(on(R"("snapshots": {"s1": null})"), IsEmpty());
  EXPECT_THAT(on(R"("current": "s1")"), IsEmpty());
  EXPECT_THAT(on(R"("snapshots": {"s1": null, "s2": "s1"})"),
              ElementsAre(divergence(DivergenceClass::chain, "s1 s2<-s1 ", "s1 ", "step 2")));
  EXPECT_THAT(on(R"("current": "s2")"),
              ElementsAre(divergence(DivergenceClass::chain, "s2", "s1", "step 2")));
  EXPECT_THAT(on(R"("current": null)"),
              ElementsAre(divergence(DivergenceClass::chain, "", "s1", "step 2")));
}

TEST(Execute, DirectoryStandsForItselfInRepliesAndEventsToo) {
  const Executed executed = on_simulator(scenario(
      R"({"qmp": "blockdev-add",
          "arguments": {"driver": "file", "node-name": "n", "filename": "${dir}/missing"},
          "expect": {"error": {"desc":
                     "Could not open '${dir}/missing': No such file or directory"}}})"));
  EXPECT_THAT(executed.divergences, IsEmpty());
}

// The canary is a mirror that forgets what the guest writes after READY.
TEST(Execute, AWrongHypervisorIsFoundWithTheByteAndItsLayer) {
  const Scenario writes = scenario(
      kCopy + "," + kReady +
      R"(,{"guest": "write", "disk": "vda", "at": "256k", "length": "64k", "pattern": 9},)" +
      kPivot);
  EXPECT_THAT(on_simulator(writes).divergences, IsEmpty());
  const Executed executed =
      on_simulator(writes, {}, sim::job::MirrorCanary::forgets_writes_after_ready);
  EXPECT_THAT(executed.divergences,
              ::testing::AllOf(Contains(divergence(DivergenceClass::data, "0x09",
                                                   "byte 262144, from layer", "end")),
                               Contains(divergence(DivergenceClass::data, "data 0x09", "data 0x01",
                                                   "copy, byte 262144"))));
}

// The model has no opinion on copies into a raw file that ends within the disk's last sector.
TEST(Execute, WhereTheModelCannotJudgeTheScenarioMust) {
  const auto copy = [](const std::string& expectation) {
    const auto all = testing::parse(R"({"title": "t", "because": "b",
        "images": {"src": {"format": "raw", "size": 1024}, "copy": {"format": "raw", "size": 1000}},
        "disks": [{"target": "vda", "source": "src"}],
        "steps": [{"call": "blockRebase", "disk": "vda", "base": "${dir}/copy",
                   "flags": ["copy", "reuse-ext"])" +
                                    expectation + "]}");
    return on_simulator(all.empty() ? Scenario{} : all.front());
  };
  EXPECT_THAT(copy("}").broken, ::testing::StartsWith(std::string(kUnjudged)));
  const std::string stated = R"(, "expect": {"ok": true}},)" + kReady + ",";
  const Executed right = copy(stated + kPivot + R"(,{"check": "vda", "chain": ["copy"]})");
  EXPECT_EQ(right.broken, "");
  EXPECT_THAT(right.divergences, IsEmpty());
  EXPECT_THAT(copy(stated + kPivot + R"(,{"check": "vda", "chain": ["src"]})").divergences,
              ElementsAre(divergence(DivergenceClass::chain, "src", "copy", "step 4")));
  EXPECT_THAT(copy(stated + R"({"call": "blockJobAbort", "disk": "vda"})").broken,
              ::testing::StartsWith(std::string(kUnjudged)));
  EXPECT_THAT(copy(R"(, "expect": {"error": {"domain": "QEMU", "code": "INVALID_ARG",
                                             "message": "m"}}})")
                  .divergences,
              ElementsAre(divergence(DivergenceClass::error, "INVALID_ARG", "success", "step 1")));
}

// --- waiting -------------------------------------------------------------------------------------

TEST(Execute, WaitingForWhatNeverComesIsAHang) {
  EXPECT_THAT(on_simulator(scenario(kHeldCopy + "," + kReady)).divergences,
              ElementsAre(divergence(DivergenceClass::hang, "READY of vda", "nothing", "step 2")));
  EXPECT_THAT(on_simulator(scenario(R"({"wait-event": "SHUTDOWN"})")).divergences,
              ElementsAre(divergence(DivergenceClass::hang, "SHUTDOWN", "nothing", "step 1")));
  EXPECT_THAT(on_simulator(scenario(kCopy + R"(,{"wait-event": "JOB_STATUS_CHANGE",
                                                 "data": {"status": "aborting"}})"))
                  .divergences,
              ElementsAre(divergence(DivergenceClass::hang, "JOB_STATUS_CHANGE", "nothing", "")));
}

// By a command past the domain layer, of which the model does not know.
TEST(Execute, AnEventThatTheModelRulesOutDiverges) {
  const Executed executed = on_simulator(scenario(kHeldCopy + R"(,{"qmp": "block-job-set-speed",
      "arguments": {"device": "copy-vda-libvirt-1-format", "speed": 0}, "expect": {"return": {}}},)" +
                                                  kReady));
  EXPECT_EQ(executed.broken, "");
  EXPECT_THAT(executed.divergences, Contains(divergence(DivergenceClass::events, "no more events",
                                                        "COPY READY", "event 1")));
}

TEST(Execute, NothingHappensAfterAHang) {
  const Executed executed = on_simulator(scenario(kHeldCopy + "," + kReady + "," + kPivot));
  EXPECT_EQ(executed.divergences.size(), 1U);
  for (const TranscriptEntry& entry : executed.transcript) EXPECT_NE(entry.name, "blockJobAbort");
}

TEST(Execute, AJobThatEndsOtherwiseIsSeenAtOnce) {
  EXPECT_THAT(
      on_simulator(
          scenario(kCopy + "," + kReady + "," + kPivot + R"(,{"wait": "canceled", "disk": "vda"})"))
          .divergences,
      ElementsAre(divergence(DivergenceClass::events, "CANCELED of vda", "COMPLETED", "step 4")));
}

TEST(Execute, AWaitIsForTheNewestJobOfTheDisk) {
  const std::string again =
      R"({"call": "blockRebase", "disk": "vda", "base": "${dir}/copy2", "flags": ["copy"]})";
  const Executed executed = on_simulator(
      scenario(kCopy + "," + kReady + "," + kPivot + "," + again + "," + kReady + "," + kPivot +
               R"(,{"wait": "completed", "disk": "vda"}, {"check": "vda", "chain": ["copy2"]})"));
  EXPECT_THAT(executed.divergences, IsEmpty());
  // A refused call starts no job: the READY before it still counts.
  const Executed refused = on_simulator(scenario(
      kCopy + "," + kReady + R"(,{"call": "blockRebase", "disk": "vda", "base": "${dir}/copy2",
      "flags": ["copy"]},)" +
      kReady + "," + kPivot));
  EXPECT_THAT(refused.divergences, IsEmpty());
}

// --- a hypervisor that goes wrong ----------------------------------------------------------------

// Answers everything with {"return": {}} until `command` comes.
struct Fault {
  std::string command;
  std::optional<TargetFailure> failure;  // nothing: `reply`
  Json reply;
};

class FaultyHypervisor final : public Hypervisor {
 public:
  explicit FaultyHypervisor(const Fault& fault) : fault_(fault) {}
  Outcome<Json> execute(std::string_view command, const Json&) override {
    if (command != fault_.command) return Json{{"return", Json::object()}};
    if (fault_.failure) return std::unexpected(*fault_.failure);
    return fault_.reply;
  }
  Outcome<std::optional<Event>> poll_event() override { return std::nullopt; }
  Outcome<std::optional<Event>> next_event(std::chrono::milliseconds) override {
    return std::nullopt;
  }

 private:
  const Fault& fault_;
};

class FaultySession final : public Session {
 public:
  explicit FaultySession(const Fault& fault) : hypervisor_(fault) {}
  Hypervisor& hypervisor() override { return hypervisor_; }
  Files& files() override { return files_; }
  Outcome<void> end() override { return {}; }

 private:
  FaultyHypervisor hypervisor_;
  inspect::TestDirectory files_;
};

class FaultyTarget final : public Target {
 public:
  explicit FaultyTarget(Fault fault) : fault_(std::move(fault)) {}
  std::string name() const override { return "qemu"; }
  std::string version() const override { return "7.2.0"; }
  std::string release() const override { return "7.2"; }
  Outcome<std::unique_ptr<Session>> open(const SessionOptions&) override {
    if (fault_.command.empty()) return std::unexpected(*fault_.failure);
    return std::make_unique<FaultySession>(fault_);
  }

 private:
  Fault fault_;
};

Executed with(const Fault& fault, const Scenario& what = scenario(kCopy)) {
  FaultyTarget target(fault);
  return execute(what, target, {});
}

TEST(Execute, ACrashAndAHangAreDivergencesAndOurOwnFailureIsNone) {
  using enum TargetFailure::Kind;
  EXPECT_THAT(with({"blockdev-add", TargetFailure{crash, "signal 11"}, {}}).divergences,
              ElementsAre(divergence(DivergenceClass::crash, "an answer to starting the domain",
                                     "signal 11", "start")));
  EXPECT_THAT(
      with({"blockdev-add", TargetFailure{hang, "no reply"}, {}}).divergences,
      ElementsAre(divergence(DivergenceClass::hang, "starting the domain", "no reply", "start")));
  const Executed ours = with({"blockdev-add", TargetFailure{harness, "disk full"}, {}});
  EXPECT_THAT(ours.divergences, IsEmpty());
  EXPECT_THAT(ours.broken, HasSubstr("disk full"));
  const Executed closed = with({"", TargetFailure{harness, "does not start"}, {}});
  EXPECT_EQ(closed.broken, "does not start");
  EXPECT_THAT(closed.divergences, IsEmpty());
}

TEST(Execute, ADomainThatCannotStartDiverges) {
  const Executed executed =
      with({"blockdev-add", {}, {{"error", {{"class", "GenericError"}, {"desc", "no medium"}}}}});
  EXPECT_THAT(executed.divergences,
              ElementsAre(divergence(DivergenceClass::error, "success", "no medium", "start")));
}

TEST(Execute, NothingIsDoneAfterAnAnswerThatTheModelDoesNotExpect) {
  const Executed executed = with(
      {"blockdev-mirror", {}, {{"error", {{"class", "GenericError"}, {"desc", "no mirrors"}}}}},
      scenario(kCopy + R"(,{"qmp": "query-status"})"));
  EXPECT_THAT(executed.divergences,
              ElementsAre(divergence(DivergenceClass::error, "success", "INTERNAL_ERROR",
                                     "step 1: blockRebase")));
  for (const TranscriptEntry& entry : executed.transcript) EXPECT_NE(entry.name, "query-status");
}

TEST(Execute, ImagesThatCannotBeMadeAreOurFailure) {
  Scenario twisted = scenario(kCopy);
  twisted.images[0].file = "missing/src";
  FaultyTarget target({"none", {}, {}});
  const Executed executed = execute(twisted, target, {});
  EXPECT_THAT(executed.broken, HasSubstr("cannot make the images: "));
  EXPECT_THAT(executed.broken, HasSubstr("No such file or directory"));
}

// --- keeping -------------------------------------------------------------------------------------

TEST(Execute, KeepWritesImagesAndTranscriptOfAFailureToo) {
  const inspect::TestDirectory directory;
  ExecutionOptions options;
  options.keep = directory / "kept/here";
  const Executed executed = on_simulator(scenario(kHeldCopy + "," + kReady, "a/b=c"), options);
  EXPECT_EQ(executed.divergences.size(), 1U);
  const std::filesystem::path place = directory / "kept/here/a_b=c/sim_7.2";
  const std::string transcript = testing::text_of(place / "transcript.txt");
  EXPECT_THAT(transcript, HasSubstr("## blockRebase("));
  EXPECT_THAT(transcript, HasSubstr("-> blockdev-mirror {"));
  EXPECT_THAT(transcript, HasSubstr("!! JOB_STATUS_CHANGE {"));
  EXPECT_EQ(inspect::run("qemu-img check -q -f qcow2 " + (place / "src").string()).status, 0);
  EXPECT_EQ(inspect::run("qemu-io -r -f qcow2 -c 'read -P 1 0 512k' " + (place / "src").string())
                .output.find("failed"),
            std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(place / "copy")) << "what libvirt made for the copy";
}

// --- many ----------------------------------------------------------------------------------------

std::map<std::string, ScenarioResult> by_id(const RunResult& result) {
  std::map<std::string, ScenarioResult> results;
  for (const ScenarioResult& one : result.results) results[one.id] = one;
  return results;
}

TEST(RunScenarios, OneThatGoesWrongNeverStopsTheOthers) {
  for (const unsigned jobs : {1U, 3U}) {
    Scenario unmakeable = scenario(kCopy, "d");
    unmakeable.images[0].writes[0].offset = std::uint64_t{1} << 40;
    const std::string good = kCopy + "," + kReady + "," + kPivot;
    const std::vector<Scenario> all = {scenario(good, "a"),
                                       scenario(kHeldCopy + "," + kReady, "b"),
                                       scenario(R"({"qmp": "quit"},)" + kPivot, "c"),
                                       unmakeable,
                                       scenario(kPivot, "e"),
                                       scenario(good, "f")};
    RunnerOptions options;
    options.jobs = jobs;
    std::vector<std::string> told;
    options.progress = [&](const ScenarioResult& result) { told.push_back(result.id); };
    const RunResult result = run_scenarios(all, {testing::simulator_choice()}, options);
    auto results = by_id(result);
    ASSERT_EQ(result.results.size(), 6U);
    EXPECT_EQ(results["a"].verdict, Verdict::conforms) << results["a"].detail;
    EXPECT_EQ(results["b"].verdict, Verdict::diverges);
    EXPECT_EQ(results["b"].divergence_class(), DivergenceClass::hang);
    EXPECT_NE(results["c"].verdict, Verdict::conforms);
    EXPECT_EQ(results["d"].verdict, Verdict::broken);
    EXPECT_EQ(results["e"].divergence_class(), DivergenceClass::error);
    EXPECT_EQ(results["f"].verdict, Verdict::conforms) << results["f"].detail;
    EXPECT_EQ(result.exit_code(), 3);
    std::ranges::sort(told);
    EXPECT_THAT(told, ElementsAre("a", "b", "c", "d", "e", "f"));
    EXPECT_EQ(results["b"].again, "understudy run --target sim:7.2 --seed 1 'b'");
    EXPECT_FALSE(results["b"].transcript.empty());
    EXPECT_TRUE(results["a"].transcript.empty());
    EXPECT_EQ(results["a"].trace_hash,
              by_id(run_scenarios({all[0]}, {testing::simulator_choice()}, {}))["a"].trace_hash)
        << "it does not depend on which others run";
  }
}

TargetChoice faulty(const Fault& fault) {
  return {"qemu",
          "7.2.0",
          "7.2",
          [fault]() -> Outcome<std::unique_ptr<Target>> {
            return std::make_unique<FaultyTarget>(fault);
          },
          {},
          {}};
}

TEST(RunScenarios, ATargetThatDoesNotOpenIsBrokenAndTheOtherRuns) {
  TargetChoice closed = faulty({});
  closed.open = []() -> Outcome<std::unique_ptr<Target>> {
    return std::unexpected(TargetFailure{TargetFailure::Kind::harness, "no KVM"});
  };
  TargetChoice absent = closed;
  absent.name = "qemu:5.2";
  absent.skip_because = "not installed";
  const RunResult result = run_scenarios({scenario(kCopy + "," + kReady + "," + kPivot)},
                                         {testing::simulator_choice(), closed, absent}, {});
  ASSERT_EQ(result.results.size(), 3U);
  EXPECT_EQ(result.results[0].target, "qemu");
  EXPECT_EQ(result.results[0].verdict, Verdict::broken);
  EXPECT_EQ(result.results[0].detail, "no KVM");
  EXPECT_EQ(result.results[1].verdict, Verdict::skipped);
  EXPECT_EQ(result.results[1].detail, "not installed");
  EXPECT_EQ(result.results[2].verdict, Verdict::conforms);
}

// A scenario of QMP alone, so that the model has nothing to say.
Scenario only_qmp(const std::string& command) {
  const auto all = testing::parse(
      R"({"title": "t", "because": "b", "steps": [{"qmp": ")" + command + R"("}]})", "it's");
  return all.empty() ? Scenario{} : all.front();
}

TEST(RunScenarios, ASimulatorThatSaysSomethingElseThanTheRealOneDiverges) {
  const Fault other = {"query-status", {}, {{"return", {{"running", true}}}}};
  RunnerOptions options;
  options.seed = 7;
  options.switched_off = {"progress"};
  const auto run = [&](const TargetChoice& real) {
    return run_scenarios({only_qmp("query-status")}, {real, testing::simulator_choice()}, options);
  };
  const RunResult result = run(faulty(other));
  EXPECT_EQ(result.results[0].verdict, Verdict::conforms) << "the real one is right";
  EXPECT_EQ(result.results[1].verdict, Verdict::diverges);
  EXPECT_THAT(result.results[1].divergences,
              ElementsAre(divergence(DivergenceClass::error, "running", "", "query-status")));
  EXPECT_EQ(result.results[1].again,
            "understudy run --target sim:7.2 --target qemu --no-normalise progress --seed 7 "
            "'it'\\''s'");
  EXPECT_THAT(result.normalisations, ::testing::Not(Contains("progress")));
  // Another release may say something else.
  TargetChoice newer = faulty(other);
  newer.release = "10.0";
  EXPECT_EQ(run(newer).results[1].verdict, Verdict::conforms);
  options.compare_transcripts = false;
  EXPECT_EQ(run(faulty(other)).results[1].verdict, Verdict::conforms);
}

TEST(RunScenarios, KnownDivergencesAreKnownAndMustShow) {
  const std::vector<Scenario> all = {scenario(kHeldCopy + "," + kReady, "g/hangs"),
                                     scenario(kCopy + "," + kReady + "," + kPivot, "g/right")};
  const auto run = [&](std::vector<KnownDivergence> known) {
    TargetChoice target = testing::simulator_choice();
    target.known = std::move(known);
    return run_scenarios(all, {target}, {});
  };
  const auto known = [](const std::string& id, DivergenceClass divergence_class) {
    return KnownDivergence{id, divergence_class, "it hangs", "7.2.json: /0"};
  };
  const RunResult plain = run({});
  EXPECT_EQ(plain.exit_code(), 1);
  for (const std::string id : {"g/hangs", "g/*"}) {
    const RunResult result = run({known(id, DivergenceClass::hang)});
    EXPECT_EQ(result.results[0].verdict, Verdict::known);
    EXPECT_EQ(result.results[0].detail, "it hangs");
    EXPECT_EQ(result.results[1].verdict, Verdict::conforms);
    EXPECT_THAT(result.stale_expectations, IsEmpty());
    EXPECT_EQ(result.exit_code(), 0);
  }
  // Another class is news, and what was known is gone.
  const RunResult other = run({known("g/hangs", DivergenceClass::data)});
  EXPECT_EQ(other.results[0].verdict, Verdict::diverges);
  EXPECT_THAT(other.stale_expectations, ElementsAre(HasSubstr("7.2.json: /0")));
  const RunResult gone =
      run({known("g/hangs", DivergenceClass::hang), known("g/right", DivergenceClass::hang)});
  EXPECT_EQ(gone.results[0].verdict, Verdict::known);
  EXPECT_THAT(gone.stale_expectations, ElementsAre(HasSubstr("g/right")));
  EXPECT_EQ(gone.exit_code(), 1);
  // Of scenarios that did not run nothing can be said.
  EXPECT_EQ(
      run({known("g/hangs", DivergenceClass::hang), known("elsewhere/*", DivergenceClass::hang)})
          .exit_code(),
      0);
}

TEST(InShard, EachIdIsInExactlyOne) {
  std::map<unsigned, int> sizes;
  bool moved = false;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = "matrix/" + std::to_string(i);
    unsigned shards = 0;
    for (unsigned index = 1; index <= 7; ++index)
      if (in_shard(3, id, index, 7)) {
        ++shards;
        ++sizes[index];
        moved = moved || !in_shard(4, id, index, 7);
      }
    EXPECT_EQ(shards, 1U) << id;
    EXPECT_TRUE(in_shard(3, id, 1, 1));
  }
  for (unsigned index = 1; index <= 7; ++index) EXPECT_GT(sizes[index], 100);
  EXPECT_TRUE(moved) << "the seed draws the shards";
}

}  // namespace
}  // namespace conformance
