#include "conformance/run/transcript.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "conformance/inspect/inspector.h"
#include "conformance/run/images.h"
#include "conformance/run/members.h"
#include "sim/base/text.h"

namespace conformance {

namespace {

using std::chrono::milliseconds;

// Generous for what a real QEMU does at once; of virtual time on the simulator.
constexpr milliseconds kPatience{60'000};

// What follows in a file's digest is of the file with the times of its internal snapshots.
constexpr std::string_view kWithTimes = ", with snapshots' times ";

// So many equal answers to query-jobs in a row make rest: more if a job is running, which may be
// about to go on, and none of them counts while the target works on requests: on a slow disk one
// write outlasts any number of answers.
constexpr unsigned kSameAnswers = 3, kSameAnswersOfRunning = 100;

class Recorder {
 public:
  Recorder(const Scenario& scenario, Session& session)
      : scenario_(scenario),
        session_(session),
        directory_(session.files().directory()),
        hypervisor_(session.hypervisor(), result_.transcript) {}

  Executed run() {
    if (make()) {
      for (std::size_t i = 0; i < scenario_.steps.size() && !stopped_; ++i) {
        place_ = fmt::format("step {}", i + 1);
        std::visit([&](const auto& step) { perform(step); }, scenario_.steps[i].action);
      }
      if (!stopped_) take_events();
    }
    result_.trace_hash = session_.trace_hash();
    if (result_.broken.empty() && result_.crash.empty() &&
        scenario_.files != FileComparison::none) {
      if (auto ended = session_.end(); !ended)
        failed("the end", ended.error());
      else
        read_files();
    }
    return std::move(result_);
  }

 private:
  bool make() {
    const sim::Result<> made = make_images(scenario_, session_);
    if (!made) result_.broken = "cannot make the images: " + made.error().desc;
    return static_cast<bool>(made);
  }

  void failed(const std::string& doing, const TargetFailure& failure) {
    stopped_ = true;
    if (failure.kind == TargetFailure::Kind::harness) {
      result_.broken = doing + ": " + failure.detail;
      return;
    }
    const bool crashed = failure.kind == TargetFailure::Kind::crash;
    if (crashed) result_.crash = fmt::format("{} ({})", place_, doing);
    if (crashed && session_.is_simulated()) return;
    result_.divergences.push_back({crashed ? DivergenceClass::crash : DivergenceClass::hang,
                                   "the hypervisor goes on answering", "an answer to " + doing,
                                   failure.detail, place_});
  }

  void perform(const QmpStep& step) {
    place_ += ": " + step.command;
    const auto reply = hypervisor_.execute(step.command, here(step.arguments));
    if (!reply) return failed(step.command, reply.error());
    if (step.expect && !has_members(*reply, here(*step.expect)))
      result_.divergences.push_back({DivergenceClass::error, "the reply has these members",
                                     step.expect->dump(), reply->dump(), place_});
    if (step.command == "quit") return take_last_events();
    take_events();
  }

  // Until nobody is there any more.
  void take_last_events() {
    for (;;) {
      auto event = hypervisor_.next_event(kPatience);
      if (!event) return failed("the end", event.error());
      if (!*event) return;
      events_.push_back(**event);
    }
  }

  Json here(const Json& json) const { return in_directory(json, directory_); }

  // Everything that the machine has already said.
  void take_events() {
    for (;;) {
      auto event = hypervisor_.poll_event();
      if (!event) return failed("events", event.error());
      if (!*event) return;
      events_.push_back(**event);
    }
  }

  // Events that passed while waiting do not count for the next wait.
  void perform(const WaitStep& step) {
    place_ += ": wait for " + step.event;
    for (;; ++seen_) {
      if (seen_ == events_.size()) {
        auto event = hypervisor_.next_event(kPatience);
        if (!event) return failed("waiting for " + step.event, event.error());
        if (!*event) return never_came(step);
        events_.push_back(**event);
      }
      if (events_[seen_].name != step.event) continue;
      if (!step.data.is_null() && !has_members(events_[seen_].data, here(step.data))) continue;
      ++seen_;
      return;
    }
  }

  // Asks as often as it takes, and records none of it: how often depends on the machine.
  void perform(const RestStep&) {
    place_ += ": wait for the jobs";
    const auto limit = std::chrono::steady_clock::now() + kPatience;
    Json before;
    for (unsigned same = 0, wanted = 1; same < wanted;) {
      const auto jobs = session_.hypervisor().execute("query-jobs", {});
      if (!jobs) return failed("query-jobs", jobs.error());
      const auto block_jobs = session_.hypervisor().execute("query-block-jobs", {});
      if (!block_jobs) return failed("query-block-jobs", block_jobs.error());
      if (std::chrono::steady_clock::now() > limit) {
        stopped_ = true;
        result_.divergences.push_back(
            {DivergenceClass::hang, "the jobs come to rest", "rest", jobs->dump(), place_});
        return;
      }
      const bool runs = is_any_running(*jobs, *block_jobs);
      // A simulator has done all that needs no time before it answers.
      if (session_.is_simulated()) break;
      wanted = runs ? kSameAnswersOfRunning : kSameAnswers;
      same = *jobs == before && !(runs && session_.is_at_work()) ? same + 1 : 0;
      before = *jobs;
    }
    take_events();
  }

  // Whether a job is in a state that ends by itself, and its speed does not make it wait.
  static bool is_any_running(const Json& jobs, const Json& block_jobs) {
    static constexpr std::array<std::string_view, 6> kStill = {"paused",  "ready",   "standby",
                                                               "waiting", "pending", "concluded"};
    const auto is_held = [&](const Json& job) {
      const auto& all = block_jobs.value("return", Json::array());
      return std::ranges::any_of(all, [&](const Json& it) {
        return it["device"] == job["id"] && it.value("speed", 0) == 1 &&
               job["current-progress"] > 0 && job["current-progress"] < job["total-progress"];
      });
    };
    return std::ranges::any_of(jobs.value("return", Json::array()), [&](const Json& job) {
      return std::ranges::find(kStill, job["status"].get<std::string>()) == kStill.end() &&
             !is_held(job);
    });
  }

  void never_came(const WaitStep& step) {
    stopped_ = true;
    result_.divergences.push_back({DivergenceClass::hang, "the event comes",
                                   fmt::format("{} {}", step.event, step.data.dump()), "nothing",
                                   place_});
  }

  template <class Other>
  void perform(const Other&) {
    result_.broken = "a scenario without disks has qmp and wait-event steps only";
    stopped_ = true;
  }

  // --- files -------------------------------------------------------------------------------------

  void read_files() {
    const Files& files = session_.files();
    for (const std::string& name : files.names()) {
      const std::string path = directory_ + "/" + name;
      if (scenario_.files == FileComparison::bytes) {
        result_.files[name] = digest_of(files, path);
        continue;
      }
      result_.files[name] = sim::replace_all(
          content_of(files, path, passphrases_of(scenario_, directory_)), directory_, "${dir}");
    }
  }

  static std::string digest_of(const Files& files, const std::string& path) {
    const auto times = inspect::snapshot_times(files, path);
    const auto digest = times ? inspect::digest(files, path, *times) : inspect::digest(files, path);
    std::string text =
        fmt::format("{} bytes, digest {:016x}", files.size(path).value_or(0), digest ? *digest : 0);
    if (!times || times->empty()) return text;
    const auto whole = inspect::digest(files, path);
    return fmt::format("{}{}{:016x}", text, kWithTimes, whole ? *whole : 0);
  }

  // What a guest would read of this layer alone, run by run, and what the header says.
  static std::string content_of(const Files& files, const std::string& path,
                                const Passphrases& passphrases) {
    inspect::Inspector inspector(files, passphrases);
    const auto layer = inspector.layer(path, "");
    if (!layer) return layer.error().desc;
    const inspect::ImageReport& report = (*layer)->report;
    std::string text = fmt::format("{}, {} bytes, backing '{}' ({}), {}", report.format,
                                   report.virtual_size, report.backing_file, report.backing_format,
                                   report.check.clean() ? "clean" : "not clean");
    for (const inspect::ContentRun& run : (*layer)->content.runs)
      text += fmt::format("; {}+{} {} {}", run.offset, run.length, static_cast<int>(run.kind),
                          run.pattern ? fmt::format("{}", *run.pattern) : "mixed");
    return text;
  }

  const Scenario& scenario_;
  Session& session_;
  std::string directory_;
  Executed result_;
  RecordingHypervisor hypervisor_;
  std::vector<Event> events_;
  std::size_t seen_ = 0;  // so many of them were waited for, or passed over
  std::string place_ = "start";
  bool stopped_ = false;
};

std::pair<int, int> numbers_of(std::string_view release) {
  std::pair<int, int> numbers;
  const std::size_t point = std::min(release.find('.'), release.size());
  std::from_chars(release.data(), release.data() + point, numbers.first);
  if (point < release.size())
    std::from_chars(release.data() + point + 1, release.data() + release.size(), numbers.second);
  return numbers;
}

// The part around the first difference, so that a long text stays readable.
void shorten(std::string& expected, std::string& actual) {
  constexpr std::size_t kBefore = 60, kLength = 300;
  const auto [a, b] = std::ranges::mismatch(expected, actual);
  const auto at = static_cast<std::size_t>(a - expected.begin());
  const std::size_t from = at > kBefore ? at - kBefore : 0;
  for (std::string* text : {&expected, &actual}) {
    const bool cut = text->size() > from + kLength;
    *text = (from > 0 ? "…" : "") + text->substr(std::min(from, text->size()), kLength) +
            (cut ? "…" : "");
  }
}

}  // namespace

Executed record(const Scenario& scenario, Session& session) {
  return Recorder(scenario, session).run();
}

bool is_older(std::string_view release, std::string_view than) {
  return !than.empty() && numbers_of(release) < numbers_of(than);
}

std::vector<Divergence> compare_records(Executed& left, Executed& right,
                                        const check::Switched& off) {
  if (!left.crash.empty() && left.crash == right.crash)
    for (Executed* executed : {&left, &right})
      std::erase_if(executed->divergences, [](const Divergence& divergence) {
        return divergence.divergence_class == DivergenceClass::crash;
      });
  std::vector<Divergence> found;
  if (left.crash != right.crash)
    found.push_back({DivergenceClass::crash, "both targets crash, or neither",
                     left.crash.empty() ? "no crash" : left.crash,
                     right.crash.empty() ? "no crash" : right.crash, "transcript"});
  std::vector<Divergence> said =
      check::compare_transcripts({left.transcript, left.directory},
                                 {right.transcript, right.directory}, off, check::Detail::all);
  std::ranges::move(said, std::back_inserter(found));
  if (check::is_on(check::kSnapshotTimes, off))
    for (Executed* executed : {&left, &right})
      for (auto& [name, ending] : executed->files)
        ending.resize(std::min(ending.size(), ending.find(kWithTimes)));
  if (left.crash.empty() && right.crash.empty() && found.empty())
    for (const auto& [name, ending] : left.files)
      if (const std::string other = right.files.contains(name) ? right.files.at(name) : "no file";
          other != ending)
        found.push_back(
            {DivergenceClass::data, "both targets leave the same files", ending, other, name});
  for (const auto& [name, ending] : right.files)
    if (!left.files.contains(name) && found.empty() && left.crash.empty())
      found.push_back(
          {DivergenceClass::data, "both targets leave the same files", "no file", ending, name});
  for (Divergence& divergence : found) shorten(divergence.expected, divergence.actual);
  return found;
}

}  // namespace conformance
