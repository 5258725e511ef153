#include "conformance/property/explore.h"

#include <fmt/format.h>
#include <rapidcheck.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>

#include "conformance/property/found_file.h"
#include "conformance/run/execution.h"

namespace conformance::property {

namespace {

using Clock = std::chrono::steady_clock;
using rc::detail::CaseDescription;
using rc::detail::CaseResult;

// RapidCheck prints nothing of its own.
class Silent final : public rc::detail::TestListener {
 public:
  void onTestCaseFinished(const CaseDescription&) override {}
  void onShrinkTried(const CaseDescription&, bool) override {}
  void onTestFinished(const rc::detail::TestMetadata&, const rc::detail::TestResult&) override {}
};

// A target that many runs share, so that a process is started once.
class SharedTarget final : public Target {
 public:
  explicit SharedTarget(std::shared_ptr<Target> target) : target_(std::move(target)) {}
  std::string name() const override { return target_->name(); }
  std::string version() const override { return target_->version(); }
  std::string release() const override { return target_->release(); }
  Outcome<std::unique_ptr<Session>> open(const SessionOptions& options) override {
    return target_->open(options);
  }

 private:
  std::shared_ptr<Target> target_;
};

class Exploration {
 public:
  explicit Exploration(const ExploreOptions& options) : options_(options) {}

  Explored run() {
    open_targets();
    if (options_.seconds != 0) deadline_ = start_ + std::chrono::seconds(options_.seconds);
    const std::uint64_t cases =
        options_.seconds != 0 ? std::numeric_limits<std::uint64_t>::max() : options_.cases;
    // In batches: RapidCheck wants to know how many, and time does not tell.
    for (std::uint64_t batch = 0; explored_.cases < cases && !is_over(); ++batch)
      search(batch == 0 ? options_.seed : seed_of(options_.seed, std::to_string(batch)),
             static_cast<int>(std::min<std::uint64_t>(cases - explored_.cases, 1000)));
    if (failing_ && explored_.broken.empty()) report();
    return std::move(explored_);
  }

 private:
  bool is_over() const {
    return failing_ || !explored_.broken.empty() || (deadline_ && Clock::now() >= *deadline_);
  }

  void open_targets() {
    for (const TargetChoice& choice : options_.targets) {
      if (!choice.skip_because.empty()) continue;
      auto opened = choice.open();
      if (!opened) {
        explored_.broken = choice.name + ": " + opened.error().detail;
        return;
      }
      TargetChoice shared = choice;
      shared.open = [target = std::shared_ptr<Target>(*std::move(opened))]()
          -> Outcome<std::unique_ptr<Target>> { return std::make_unique<SharedTarget>(target); };
      targets_.push_back(std::move(shared));
    }
    if (targets_.empty()) explored_.broken = "there is no target to explore on";
  }

  void search(std::uint64_t seed, int cases) {
    const rc::detail::Property property =
        rc::gen::map(cases_of(options_.property), [this](const PlannedScenario& planned) {
          CaseDescription description;
          description.result = CaseResult(judge(planned), "");
          description.example = [] { return rc::detail::Example(); };
          return description;
        });
    rc::detail::TestParams params;
    params.seed = seed;
    params.maxSuccess = cases;
    params.maxDiscardRatio = 100;
    Silent listener;
    // With an empty map of things to reproduce: nothing is taken from the environment.
    const auto result = rc::detail::checkProperty(property, {}, params, listener, {});
    if (result.is<rc::detail::GaveUpResult>()) explored_.broken = "too many cases were discarded";
  }

  CaseResult::Type judge(const PlannedScenario& planned) {
    if (failing_) return try_smaller(planned);
    if (is_over()) return CaseResult::Type::Success;
    if (planned.unknown) return discard();
    const bool shared =
        targets_.size() > 1 &&
        (planned.scenario.is_transcript() ||
         in_shard(options_.seed, std::to_string(explored_.cases), 1, options_.shared_one_in));
    RunResult run = this->run(planned.scenario, shared ? targets_ : first_target());
    if (is_unjudged(run)) return discard();
    ++explored_.cases;
    if (shared) ++explored_.shared;
    if (options_.progress) options_.progress(explored_.cases);
    const ScenarioResult* failure = failure_of(run);
    if (failure == nullptr) return CaseResult::Type::Success;
    if (planned.scenario.is_transcript()) {
      // What two machines say side by side may depend on their pace.
      run = this->run(planned.scenario, targets_);
      failure = failure_of(run);
      if (failure == nullptr) return ++explored_.unsteady, CaseResult::Type::Success;
    }
    class_ = failure->divergence_class();
    choose_targets_to_shrink_on(planned.scenario, *failure, shared);
    keep(planned.scenario, std::move(run));
    shrinking_since_ = Clock::now();
    return CaseResult::Type::Failure;
  }

  CaseResult::Type discard() {
    ++explored_.discarded;
    return CaseResult::Type::Discard;
  }

  // Smaller cases must fail in the same way: a search for one thing shall not end with another.
  CaseResult::Type try_smaller(const PlannedScenario& planned) {
    const bool too_long =
        Clock::now() - shrinking_since_ > std::chrono::seconds(options_.shrink_seconds_max);
    if (tries_ >= options_.shrink_tries_max || too_long) return CaseResult::Type::Success;
    ++tries_;
    if (planned.unknown) return CaseResult::Type::Success;
    RunResult run = this->run(planned.scenario, targets_to_shrink_on_);
    const ScenarioResult* failure = failure_of(run);
    if (failure == nullptr || failure->divergence_class() != class_)
      return CaseResult::Type::Success;
    keep(planned.scenario, std::move(run));
    return CaseResult::Type::Failure;
  }

  // The failing target alone, if it fails alone: what differs between two targets needs both, and
  // a conversation without expectations fails alone only where a release crashes, which may be
  // known.
  void choose_targets_to_shrink_on(const Scenario& scenario, const ScenarioResult& failure,
                                   bool shared) {
    targets_to_shrink_on_ = shared ? targets_ : first_target();
    if (!shared || scenario.is_transcript()) return;
    std::vector<TargetChoice> alone = targets_;
    std::erase_if(alone, [&](const TargetChoice& it) { return it.name != failure.target; });
    const RunResult run = this->run(scenario, alone);
    const ScenarioResult* again = failure_of(run);
    if (again != nullptr && again->divergence_class() == class_) targets_to_shrink_on_ = alone;
  }

  std::vector<TargetChoice> first_target() const { return {targets_.front()}; }

  RunResult run(const Scenario& scenario, const std::vector<TargetChoice>& targets,
                const std::string& keep_in = {}) {
    RunnerOptions runner;
    runner.seed = options_.seed;
    runner.switched_off = options_.switched_off;
    runner.keep = keep_in;
    RunResult run = run_scenarios({scenario}, targets, runner);
    run.stale_expectations.clear();  // one random case proves nothing about them
    return run;
  }

  // What diverges first; a harness that failed ends the exploration.
  const ScenarioResult* failure_of(const RunResult& run) {
    const ScenarioResult* failure = nullptr;
    for (const ScenarioResult& result : run.results) {
      if (result.verdict == Verdict::diverges && failure == nullptr) failure = &result;
      if (result.verdict == Verdict::broken && !result.detail.starts_with(kUnjudged))
        explored_.broken = result.target + ": " + result.detail;
    }
    return failure;
  }
  static bool is_unjudged(const RunResult& run) {
    return std::ranges::any_of(run.results, [](const ScenarioResult& result) {
      return result.verdict == Verdict::broken && result.detail.starts_with(kUnjudged);
    });
  }

  void keep(Scenario scenario, RunResult run) {
    failing_ = Found{.scenario = std::move(scenario),
                     .file = {},
                     .at_case = explored_.cases,
                     .shrink_tries = 0,
                     .run = std::move(run)};
  }

  void report() {
    Found& found = *failing_;
    found.shrink_tries = tries_;
    const auto written = write_found(found.scenario, options_.output);
    if (!written) {
      explored_.broken = written.error().desc;
      return;
    }
    found.file = *written;
    found.scenario.id = id_of(found.file);
    // Once more under the name it has now, which is what the file will repeat.
    RunResult last = run(found.scenario, targets_to_shrink_on_, options_.keep);
    if (failure_of(last) != nullptr) found.run = std::move(last);
    std::string targets;
    for (const TargetChoice& target : targets_to_shrink_on_) targets += " --target " + target.name;
    for (ScenarioResult& result : found.run.results) {
      result.id = found.scenario.id;
      result.again = fmt::format("understudy run{} --seed {} {}", targets, options_.seed,
                                 quoted_for_shell(found.file));
    }
    explored_.found = std::move(found);
  }

  const ExploreOptions& options_;
  Explored explored_;
  std::vector<TargetChoice> targets_;
  std::vector<TargetChoice> targets_to_shrink_on_;
  Clock::time_point start_ = Clock::now();
  std::optional<Clock::time_point> deadline_;
  // The smallest failing case so far: RapidCheck goes down into each smaller one that fails.
  std::optional<Found> failing_;
  DivergenceClass class_ = DivergenceClass::none;
  std::uint64_t tries_ = 0;
  Clock::time_point shrinking_since_;
};

}  // namespace

Explored explore(const ExploreOptions& options) { return Exploration(options).run(); }

}  // namespace conformance::property
