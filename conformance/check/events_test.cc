// Events, statuses and transcripts: what is found, and what each normalisation does.

#include "conformance/check/events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace conformance::check {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Matcher;
using enum TranscriptEntry::Kind;

Matcher<Divergence> divergence(DivergenceClass divergence_class, const std::string& expected,
                               const std::string& actual, const std::string& place) {
  return AllOf(Field("class", &Divergence::divergence_class, divergence_class),
               Field("expected", &Divergence::expected, HasSubstr(expected)),
               Field("actual", &Divergence::actual, HasSubstr(actual)),
               Field("place", &Divergence::place, place));
}

// --- block job events ----------------------------------------------------------------------------

const std::vector<model::ExpectedEvent> kPivoted = {{"vda", "/d/src", "COPY", "READY"},
                                                    {"vda", "/d/copy", "COPY", "COMPLETED"}};

TEST(CompareEvents, TheSameEvents) {
  EXPECT_THAT(
      compare_events({{"vda", "/d/src", "COPY", "READY"}, {"vda", "/d/copy", "COPY", "COMPLETED"}},
                     kPivoted),
      IsEmpty());
  EXPECT_THAT(compare_events({}, {}), IsEmpty());
}

TEST(CompareEvents, DisksDoNotWaitForOneAnother) {
  EXPECT_THAT(compare_events({{"vda", "/d/src", "COPY", "READY"},
                              {"vdb", "/d/b", "PULL", "COMPLETED"},
                              {"vda", "/d/copy", "COPY", "COMPLETED"}},
                             {{"vda", "/d/src", "COPY", "READY"},
                              {"vda", "/d/copy", "COPY", "COMPLETED"},
                              {"vdb", "/d/b", "PULL", "COMPLETED"}}),
              IsEmpty());
  EXPECT_THAT(compare_events({{"vdb", "/d/b", "PULL", "COMPLETED"}}, {}),
              ElementsAre(divergence(DivergenceClass::events, "no more events",
                                     "PULL COMPLETED b (disk vdb)", "event 1 of vdb")));
}

TEST(CompareEvents, TheFirstThatDiffersIsTold) {
  EXPECT_THAT(compare_events({{"vda", "/d/src", "COPY", "READY"}}, kPivoted),
              ElementsAre(divergence(DivergenceClass::events, "COPY COMPLETED copy (disk vda)",
                                     "no more events", "event 2 of vda")));
  EXPECT_THAT(compare_events({{"vda", "/d/src", "COPY", "READY"}}, {}),
              ElementsAre(divergence(DivergenceClass::events, "no more events",
                                     "COPY READY src (disk vda)", "event 1 of vda")));
  EXPECT_THAT(
      compare_events({{"vda", "/d/src", "COPY", "READY"}, {"vda", "/d/src", "COPY", "COMPLETED"}},
                     kPivoted),
      ElementsAre(divergence(DivergenceClass::events, "COMPLETED copy", "COMPLETED src",
                             "event 2 of vda")));
  EXPECT_THAT(compare_events({{"vdb", "/d/src", "COPY", "READY"}}, kPivoted),
              ElementsAre(divergence(DivergenceClass::events, "COPY READY src (disk vda)",
                                     "no more events", "event 1 of vda")));
  EXPECT_THAT(compare_events({{"vda", "/d/src", "PULL", "READY"}}, kPivoted),
              ElementsAre(divergence(DivergenceClass::events, "COPY", "PULL", "event 1 of vda")));
}

// --- statuses ------------------------------------------------------------------------------------

Transcript statuses(const std::vector<std::string>& names, const std::string& job = "j") {
  Transcript transcript;
  for (const std::string& name : names)
    transcript.push_back({event, "JOB_STATUS_CHANGE", {{"id", job}, {"status", name}}});
  return transcript;
}

TEST(StatusesOf, DrainPairsAreLeftOutAndNothingElse) {
  const auto of = [](const std::vector<std::string>& names, const Switched& off = {}) {
    return statuses_of(statuses(names), "j", off);
  };
  const std::vector<std::string> drained = {"created", "running", "paused",  "running", "paused",
                                            "running", "ready",   "standby", "ready",   "standby",
                                            "ready",   "waiting", "null"};
  EXPECT_THAT(of(drained), ElementsAre("created", "running", "ready", "waiting", "null"));
  EXPECT_EQ(of(drained, {"drain-pairs"}), drained);
  // Not drains: a pause that does not end, a standby before ready was ever there, pairs that cross.
  for (const std::vector<std::string>& kept :
       std::vector<std::vector<std::string>>{{"standby", "ready"},
                                             {"created", "running", "paused"},
                                             {"running", "standby", "ready"},
                                             {"created", "paused", "running"},
                                             {"running", "ready", "standby", "aborting"},
                                             {"ready", "standby", "running"},
                                             {"running", "paused", "ready"}})
    EXPECT_EQ(of(kept), kept);
}

TEST(StatusesOf, OtherJobsAndOtherEventsDoNotCount) {
  Transcript transcript = statuses({"created"}, "other");
  transcript.push_back({event, "BLOCK_JOB_READY", {{"device", "j"}, {"status", "x"}}});
  transcript.push_back({command, "JOB_STATUS_CHANGE", {{"id", "j"}, {"status", "x"}}});
  transcript.push_back({event, "JOB_STATUS_CHANGE", {{"id", "j"}, {"status", "running"}}});
  EXPECT_THAT(statuses_of(transcript, "j", {}), ElementsAre("running"));
}

TEST(CompareStatuses, DifferentOnesAreEvents) {
  EXPECT_THAT(compare_statuses({"created", "null"}, {"created", "null"}, "j"), IsEmpty());
  EXPECT_THAT(compare_statuses({"created", "null"}, {"created", "running", "null"}, "j"),
              ElementsAre(divergence(DivergenceClass::events, "created running null",
                                     "created null", "job j")));
}

// --- transcripts ---------------------------------------------------------------------------------

Transcript exchange(const std::string& name, Json arguments, Json answer) {
  return {{command, name, std::move(arguments)}, {reply, name, std::move(answer)}};
}
Json done() { return {{"return", Json::object()}}; }
Json refused(const std::string& error_class, const std::string& text) {
  return {{"error", {{"class", error_class}, {"desc", text}}}};
}

std::vector<Divergence> compare(const Transcript& left, const Transcript& right,
                                const Switched& off = {}) {
  return compare_transcripts({left, "/left"}, {right, "/other/right"}, off);
}

TEST(CompareTranscripts, TheSame) {
  EXPECT_THAT(compare({}, {}), IsEmpty());
  Transcript transcript = exchange("query-jobs", nullptr, {{"return", Json::array()}});
  transcript.push_back({note, "anything", "left out"});
  EXPECT_THAT(compare(transcript, exchange("query-jobs", nullptr, {{"return", Json::array()}})),
              IsEmpty());
}

TEST(CompareTranscripts, AnotherCommandOrArgumentsIsAnError) {
  EXPECT_THAT(compare(exchange("job-cancel", {{"id", "a"}}, done()),
                      exchange("job-complete", {{"id", "a"}}, done())),
              ElementsAre(divergence(DivergenceClass::error, "job-cancel", "job-complete",
                                     "command 1 (job-cancel)")));
  EXPECT_THAT(compare(exchange("job-cancel", {{"id", "a"}}, done()),
                      exchange("job-cancel", {{"id", "b"}}, done())),
              ElementsAre(divergence(DivergenceClass::error, R"({"id":"a"})", R"({"id":"b"})",
                                     "command 1 (job-cancel)")));
  EXPECT_THAT(
      compare(exchange("job-cancel", {{"id", "a"}}, done()), {}),
      ElementsAre(divergence(DivergenceClass::error, "1 commands", "0 commands", "transcript")));
}

TEST(CompareTranscripts, AnotherTextOfTheSameRefusalIsWording) {
  const Transcript left = exchange("x", nullptr, refused("GenericError", "No such job"));
  EXPECT_THAT(compare(left, exchange("x", nullptr, refused("GenericError", "Job not found"))),
              ElementsAre(divergence(DivergenceClass::wording, "No such job", "Job not found",
                                     "command 1 (x)")));
  EXPECT_THAT(compare(left, exchange("x", nullptr, refused("DeviceNotFound", "No such job"))),
              ElementsAre(divergence(DivergenceClass::error, "GenericError", "DeviceNotFound",
                                     "command 1 (x)")));
  EXPECT_THAT(
      compare(left, exchange("x", nullptr, done())),
      ElementsAre(divergence(DivergenceClass::error, "No such job", "return", "command 1 (x)")));
  EXPECT_THAT(
      compare(exchange("x", nullptr, {{"return", 1}}), exchange("x", nullptr, {{"return", 2}})),
      ElementsAre(divergence(DivergenceClass::error, "1", "2", "command 1 (x)")));
}

TEST(CompareTranscripts, EachCommandThatDiffersIsTold) {
  Transcript left, right;
  for (int i = 0; i < 3; ++i) {
    std::ranges::copy(exchange("x", nullptr, {{"return", i}}), std::back_inserter(left));
    std::ranges::copy(exchange("x", nullptr, {{"return", i == 1 ? 1 : 9}}),
                      std::back_inserter(right));
  }
  EXPECT_THAT(compare(left, right),
              ElementsAre(divergence(DivergenceClass::error, "0", "9", "command 1 (x)"),
                          divergence(DivergenceClass::error, "2", "9", "command 3 (x)")));
}

TEST(CompareTranscripts, EventsAreComparedJobByJob) {
  const Transcript a = {{event, "BLOCK_JOB_READY", {{"device", "a"}}},
                        {event, "BLOCK_JOB_READY", {{"device", "b"}}},
                        {event, "JOB_STATUS_CHANGE", {{"id", "a"}, {"status", "ready"}}}};
  const Transcript same = {a[1], a[2], a[0]};
  EXPECT_THAT(compare(a, same), IsEmpty());
  EXPECT_THAT(compare(a, {a[0], a[2]}),
              ElementsAre(divergence(DivergenceClass::events, "BLOCK_JOB_READY", "", "b")));
  EXPECT_THAT(compare({a[0], a[2]}, a),
              ElementsAre(divergence(DivergenceClass::events, "nothing", "BLOCK_JOB_READY", "b")));
  Transcript aborted = a;
  aborted[2].content["status"] = "aborting";
  EXPECT_THAT(compare(a, aborted), ElementsAre(divergence(DivergenceClass::events, "ready",
                                                          "aborting", "statuses of a")));
  Transcript failed = a;
  failed[1] = {event, "BLOCK_JOB_COMPLETED", {{"device", "b"}, {"error", "I/O"}}};
  EXPECT_THAT(compare(a, failed),
              ElementsAre(divergence(DivergenceClass::events, "READY", "COMPLETED", "b")));
}

// --- each normalisation, on and off --------------------------------------------------------------

struct Pair {
  std::string normalisation;
  Transcript left, right;
  DivergenceClass otherwise;  // what is found without it
};

std::vector<Pair> pairs() {
  const TranscriptEntry created = {
      event, "JOB_STATUS_CHANGE", {{"id", "j"}, {"status", "created"}}};
  const Transcript mirror = exchange("blockdev-mirror", {{"job-id", "j"}}, done());
  Transcript drained = statuses({"running", "ready"});
  std::ranges::copy(statuses({"standby", "ready"}), std::back_inserter(drained));
  const auto hmp = [](const std::string& text) {
    return exchange("human-monitor-command", {{"command-line", "qemu-io"}}, {{"return", text}});
  };
  return {
      {"directory",
       exchange("blockdev-add", {{"filename", "/left/copy"}},
                refused("GenericError", "Could not open '/left/copy': x, /left/copy")),
       exchange(
           "blockdev-add", {{"filename", "/other/right/copy"}},
           refused("GenericError", "Could not open '/other/right/copy': x, /other/right/copy")),
       DivergenceClass::error},
      {"drain-pairs", statuses({"running", "ready"}), drained, DivergenceClass::events},
      {"reply-place",
       {mirror[0], created, mirror[1]},
       {mirror[0], mirror[1], created},
       DivergenceClass::events},
      {"generated-names", exchange("x", nullptr, {{"return", "#block123 under #block9"}}),
       exchange("x", nullptr, {{"return", "#block045 under #block77777"}}), DivergenceClass::error},
      {"progress",
       exchange("query-block-jobs", nullptr,
                {{"return", {{{"offset", 1}, {"len", 2}, {"busy", true}, {"device", "j"}}}}}),
       exchange("query-block-jobs", nullptr,
                {{"return", {{{"offset", 7}, {"len", 8}, {"busy", false}, {"device", "j"}}}}}),
       DivergenceClass::error},
      {"query-details", exchange("query-named-block-nodes", nullptr, {{"return", {1, 2}}}),
       exchange("query-named-block-nodes", nullptr, {{"return", {2, 1}}}), DivergenceClass::error},
      {"statistics-times",
       exchange("query-blockstats", nullptr,
                {{"return", {{{"rd_bytes", 512}, {"rd_total_time_ns", 1}, {"idle_time_ns", 2}}}}}),
       exchange("query-blockstats", nullptr,
                {{"return", {{{"rd_bytes", 512}, {"rd_total_time_ns", 3}, {"idle_time_ns", 4}}}}}),
       DivergenceClass::error},
      {"thread-ids",
       exchange("query-cpus-fast", nullptr, {{"return", {{{"cpu-index", 0}, {"thread-id", 17}}}}}),
       exchange("query-cpus-fast", nullptr, {{"return", {{{"cpu-index", 0}, {"thread-id", 18}}}}}),
       DivergenceClass::error},
      {"guest-io-times",
       hmp("wrote 65536/65536 bytes at offset 0\r\n64 KiB, 1 ops; 00.00 sec (1 GiB/sec)\r\n"),
       hmp("wrote 65536/65536 bytes at offset 0\r\n64 KiB, 1 ops; 00.01 sec (2 MiB/sec)\r\n"),
       DivergenceClass::error},
      {"snapshot-times",
       exchange("y", nullptr, {{"return", {{{"id", "1"}, {"date-sec", 7}, {"vm-state-size", 0}}}}}),
       exchange("y", nullptr, {{"return", {{{"id", "1"}, {"date-sec", 8}, {"vm-state-size", 0}}}}}),
       DivergenceClass::error},
      {"machine-state", exchange("x", nullptr, {{"return", {{"id", "1"}, {"vm-state-size", 7}}}}),
       exchange("x", nullptr, {{"return", {{"id", "1"}, {"vm-state-size", 8}}}}),
       DivergenceClass::error},
  };
}

TEST(Normalisations, EachIsNeededForItsCaseAndCanBeSwitchedOffByName) {
  std::vector<std::string> others;
  for (const Normalisation& normalisation : normalisations())
    others.emplace_back(normalisation.name);
  for (const Pair& pair : pairs()) {
    SCOPED_TRACE(pair.normalisation);
    EXPECT_TRUE(is_on(pair.normalisation, {}));
    EXPECT_FALSE(is_on(pair.normalisation, {pair.normalisation}));
    EXPECT_THAT(compare(pair.left, pair.right), IsEmpty());
    const auto found = compare(pair.left, pair.right, {pair.normalisation});
    ASSERT_FALSE(found.empty());
    EXPECT_EQ(found.front().divergence_class, pair.otherwise);
    // The others have nothing to do with it.
    Switched all_but_this = others;
    std::erase(all_but_this, pair.normalisation);
    EXPECT_THAT(compare(pair.left, pair.right, all_but_this), IsEmpty());
  }
}

TEST(Normalisations, AllAreTriedHereAndHaveAReason) {
  std::vector<std::string> tried, named;
  for (const Pair& pair : pairs()) tried.push_back(pair.normalisation);
  for (const Normalisation& normalisation : normalisations()) {
    named.emplace_back(normalisation.name);
    EXPECT_GT(normalisation.reason.size(), 20U) << normalisation.name;
  }
  std::ranges::sort(tried);
  std::ranges::sort(named);
  EXPECT_EQ(tried, named);
}

TEST(Normalisations, NoneHidesADifferenceThatMatters) {
  const auto differ = [](const Transcript& left, const Transcript& right) {
    return !compare(left, right).empty();
  };
  EXPECT_TRUE(differ(exchange("x", nullptr, {{"return", "/left/copy"}}),
                     exchange("x", nullptr, {{"return", "/other/right/copy2"}})));
  EXPECT_TRUE(differ(statuses({"ready", "standby", "ready"}), statuses({"ready", "standby"})));
  EXPECT_TRUE(differ(exchange("x", nullptr, {{"return", "#block1"}}),
                     exchange("x", nullptr, {{"return", "#blob1"}})));
  EXPECT_TRUE(differ(exchange("query-block", nullptr, {{"return", Json::array()}}),
                     exchange("query-block", nullptr, refused("GenericError", "no"))));
  EXPECT_TRUE(differ(
      exchange("human-monitor-command", nullptr, {{"return", "read failed: I/O error\r\n"}}),
      exchange("human-monitor-command", nullptr, {{"return", "read 1/1 bytes at offset 0\r\n"}})));
}

TEST(Normalisations, WithoutReplyPlaceTheOrderIsToldWhereItDiffers) {
  const Transcript a = exchange("a", nullptr, done()), b = exchange("b", nullptr, done());
  const TranscriptEntry happened = {event, "SHUTDOWN", Json::object()};
  EXPECT_THAT(compare({a[0], a[1], happened, b[0], b[1]}, {a[0], a[1], b[0], b[1], happened},
                      {"reply-place"}),
              ElementsAre(divergence(DivergenceClass::events, "!! SHUTDOWN", "-> b", "message 3")));
  // Drains are left out of it as long as they are left out at all.
  const Transcript ready = statuses({"ready"}), drain = statuses({"standby", "ready"});
  const Transcript drained = {a[0], ready[0], drain[0], a[1], drain[1]};
  EXPECT_THAT(compare({a[0], ready[0], a[1]}, drained, {"reply-place"}), IsEmpty());
  EXPECT_FALSE(compare({a[0], ready[0], a[1]}, drained, {"reply-place", "drain-pairs"}).empty());
}

}  // namespace
}  // namespace conformance::check
