#include "conformance/run/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>

#include "conformance/run/conversation.h"
#include "conformance/run/transcript.h"
#include "sim/base/text.h"
#include "sim/world/rng.h"

namespace conformance {

static std::uint64_t hash_of(std::uint64_t hash, const std::string& text) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

std::uint64_t seed_of(std::uint64_t seed, const std::string& id) {
  return hash_of(seed ^ 0xcbf29ce484222325U, id);
}

bool in_shard(std::uint64_t seed, const std::string& id, unsigned index, unsigned count) {
  return sim::Rng(seed_of(seed, id)).below(count) == index - 1;
}

std::string without_directory(std::string text, const Executed& executed) {
  return sim::replace_all(std::move(text), executed.directory, "${dir}");
}

// As one word of a shell.
static std::string quoted(const std::string& text) {
  return "'" + sim::replace_all(text, "'", "'\\''") + "'";
}

static std::string word(const std::string& text) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(":./-_+").contains(c);
  };
  return std::ranges::all_of(text, plain) ? text : quoted(text);
}

std::vector<std::string> excerpt(const Executed& executed) {
  constexpr std::size_t kLines = 16;
  constexpr std::size_t kWidth = 240;
  std::vector<std::string> lines;
  const Transcript& transcript = executed.transcript;
  const std::size_t from = transcript.size() > kLines ? transcript.size() - kLines : 0;
  for (std::size_t i = from; i < transcript.size(); ++i) {
    std::string line = without_directory(to_line(transcript[i]), executed);
    if (line.size() > kWidth) line = line.substr(0, kWidth) + "…";
    lines.push_back(std::move(line));
  }
  return lines;
}

bool concerns(const KnownDivergence& known, const std::string& id) {
  if (!known.scenario.ends_with("/*")) return id == known.scenario;
  return id.starts_with(known.scenario.substr(0, known.scenario.size() - 1));
}

namespace {

using Clock = std::chrono::steady_clock;

bool applies(const KnownDivergence& known, const ScenarioResult& result) {
  return concerns(known, result.id) && known.divergence_class == result.divergence_class();
}

class Runner {
 public:
  Runner(const std::vector<Scenario>& scenarios, const std::vector<TargetChoice>& targets,
         const RunnerOptions& options)
      : scenarios_(scenarios),
        targets_(targets),
        options_(options),
        results_(scenarios.size() * targets.size()) {}

  RunResult run() {
    const auto start = start_ = Clock::now();
    std::vector<std::thread> others;
    for (unsigned i = 1; i < options_.jobs; ++i) others.emplace_back([this] { work(); });
    work();
    for (std::thread& other : others) other.join();
    RunResult result;
    result.version = UNDERSTUDY_VERSION;
    result.seed = options_.seed;
    for (const TargetChoice& target : targets_)
      result.targets.push_back({target.name, target.version});
    for (const check::Normalisation& normalisation : check::normalisations())
      if (check::is_on(normalisation.name, options_.switched_off))
        result.normalisations.emplace_back(normalisation.name);
    result.results = std::move(results_);
    std::erase_if(result.results, [](const ScenarioResult& r) { return r.id.empty(); });  // not run
    result.stale_expectations = stale(result.results);
    std::ranges::sort(result.results, {}, [](const ScenarioResult& r) {
      return std::pair(std::string_view(r.id), std::string_view(r.target));
    });
    result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return result;
  }

 private:
  void work() {
    std::vector<std::unique_ptr<Target>> open(targets_.size());
    std::vector<std::string> refusals(targets_.size());
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      if (!targets_[i].skip_because.empty()) continue;
      auto target = targets_[i].open();
      if (target)
        open[i] = *std::move(target);
      else
        refusals[i] = target.error().detail;
    }
    for (std::size_t next = next_++; next < scenarios_.size(); next = next_++) {
      if (options_.seconds != 0 && Clock::now() - start_ > std::chrono::seconds(options_.seconds))
        break;
      if (options_.stop != nullptr && *options_.stop) break;
      run_one(next, open, refusals);
    }
  }

  void run_one(std::size_t index, const std::vector<std::unique_ptr<Target>>& open,
               const std::vector<std::string>& refusals) {
    const Scenario& scenario = scenarios_[index];
    std::vector<Executed> executed(targets_.size());
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      const auto start = Clock::now();
      ExecutionOptions how;
      how.session.seed = seed_of(options_.seed, scenario.id);
      how.switched_off = options_.switched_off;
      how.keep = options_.keep;
      if (open[i])
        executed[i] = execute(scenario, *open[i], how);
      else
        executed[i].broken = refusals[i];
      results_[index * targets_.size() + i].seconds =
          std::chrono::duration<double>(Clock::now() - start).count();
    }
    std::vector<std::string> beside(targets_.size());
    if (options_.compare_transcripts) compare_with_real(scenario, executed, beside);
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      ScenarioResult& result = results_[index * targets_.size() + i];
      result.again = again(scenario, targets_[i].name, beside[i]);
      judge(scenario, targets_[i], executed[i], result);
    }
    if (!options_.progress) return;
    const std::lock_guard lock(progress_lock_);
    for (std::size_t i = 0; i < targets_.size(); ++i)
      options_.progress(results_[index * targets_.size() + i]);
  }

  // A simulator must say what a real QEMU of its release says; where the two differ though both
  // agree with the model, the simulator is the one that is wrong.  `beside` becomes the real one's
  // name.
  void compare_with_real(const Scenario& scenario, std::vector<Executed>& executed,
                         std::vector<std::string>& beside) const {
    for (std::size_t sim = 0; sim < targets_.size(); ++sim) {
      if (!targets_[sim].name.starts_with("sim")) continue;
      for (std::size_t real = 0; real < targets_.size(); ++real) {
        if (targets_[real].name.starts_with("sim") ||
            targets_[real].release != targets_[sim].release)
          continue;
        if (!executed[sim].broken.empty() || !executed[real].broken.empty()) continue;
        if (!executed[sim].skipped.empty() || !executed[real].skipped.empty()) continue;
        if (!targets_[sim].skip_because.empty() || !targets_[real].skip_because.empty()) continue;
        const bool records = scenario.is_transcript();
        if (!records && (!executed[sim].divergences.empty() || !executed[real].divergences.empty()))
          continue;
        auto found =
            records ? compare_records(executed[real], executed[sim], options_.switched_off)
                    : compare_conversations(executed[real], executed[sim], options_.switched_off);
        for (Divergence& divergence : found)
          divergence.requirement = "the simulator says what " + targets_[real].name + " says";
        if (!found.empty()) beside[sim] = targets_[real].name;
        std::ranges::move(found, std::back_inserter(executed[sim].divergences));
        break;
      }
    }
  }

  // The command that repeats exactly this.
  std::string again(const Scenario& scenario, const std::string& target,
                    const std::string& beside) const {
    std::string command = "understudy run --target " + word(target);
    if (!beside.empty()) command += " --target " + word(beside);
    for (const std::string& normalisation : options_.switched_off)
      command += " --no-normalise " + normalisation;
    return fmt::format("{} --seed {} {}", command, options_.seed, quoted(scenario.id));
  }

  void judge(const Scenario& scenario, const TargetChoice& target, Executed& executed,
             ScenarioResult& result) const {
    result.id = scenario.id;
    result.target = target.name;
    result.trace_hash = executed.trace_hash;
    if (!target.skip_because.empty()) {
      result.verdict = Verdict::skipped;
      result.detail = target.skip_because;
      return;
    }
    if (!executed.broken.empty()) {
      result.verdict = Verdict::broken;
      result.detail = executed.broken;
      result.transcript = excerpt(executed);
      return;
    }
    if (!executed.skipped.empty()) {
      result.verdict = Verdict::skipped;
      result.detail = executed.skipped;
      return;
    }
    if (executed.divergences.empty()) return;
    result.verdict = Verdict::diverges;
    result.transcript = excerpt(executed);
    result.divergences = std::move(executed.divergences);
    for (Divergence& divergence : result.divergences)
      for (std::string* text : {&divergence.expected, &divergence.actual, &divergence.place})
        *text = without_directory(std::move(*text), executed);
    const Divergence& first = result.divergences.front();
    result.detail = fmt::format("{}: expected {}, got {} ({})", first.requirement, first.expected,
                                first.actual, first.place);
    for (const KnownDivergence& known : target.known) {
      if (!applies(known, result)) continue;
      result.verdict = Verdict::known;
      result.detail = known.because;
      break;
    }
  }

  // Known divergences whose scenarios all ran and did not show them.
  std::vector<std::string> stale(const std::vector<ScenarioResult>& results) const {
    std::vector<std::string> found;
    for (const TargetChoice& target : targets_)
      for (const KnownDivergence& known : target.known) {
        std::size_t ran = 0;
        bool shown = false;
        for (const ScenarioResult& result : results) {
          if (result.target != target.name || !concerns(known, result.id)) continue;
          ++ran;
          shown = shown || (result.verdict == Verdict::known && applies(known, result));
        }
        if (ran > 0 && ran >= known.members && !shown)
          found.push_back(fmt::format("{}: {} ({}) no longer shows: remove it", known.source,
                                      known.scenario, name_of(known.divergence_class)));
      }
    return found;
  }

  const std::vector<Scenario>& scenarios_;
  const std::vector<TargetChoice>& targets_;
  const RunnerOptions& options_;
  std::vector<ScenarioResult> results_;
  std::atomic<std::size_t> next_ = 0;
  Clock::time_point start_;
  std::mutex progress_lock_;
};

}  // namespace

RunResult run_scenarios(const std::vector<Scenario>& scenarios,
                        const std::vector<TargetChoice>& targets, const RunnerOptions& options) {
  return Runner(scenarios, targets, options).run();
}

}  // namespace conformance
