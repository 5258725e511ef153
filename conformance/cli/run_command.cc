#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <thread>

#include "conformance/cli/commands.h"
#include "conformance/cli/scenario_files.h"
#include "conformance/cli/selection.h"
#include "reports/json.h"
#include "reports/junit.h"
#include "reports/tap.h"
#include "reports/terminal.h"

namespace cli {

using conformance::RunResult;
using conformance::ScenarioResult;

int fail(const Failure& failure) {
  fmt::print(stderr, "understudy: {}\n", failure.text);
  return failure.exit_code;
}

static Expected<void> check_normalisations(const Options& options) {
  for (const std::string& name : options.no_normalise) {
    bool known = false;
    std::string all;
    for (const auto& normalisation : conformance::check::normalisations()) {
      known = known || normalisation.name == name;
      all += fmt::format(" {}", normalisation.name);
    }
    if (!known)
      return std::unexpected(
          Failure{kBadInput, fmt::format("--no-normalise {}: there are:{}", name, all)});
  }
  return {};
}

static sim::Result<> write_reports(const RunResult& result, const Options& options) {
  if (!options.report.empty()) {
    std::error_code error;
    std::filesystem::create_directories(options.report, error);
    if (error) return sim::os_error(error.value(), options.report);
    TRY_OK(reports::write_json(result, options.report + "/report.json"));
    TRY_OK(reports::write_junit(result, options.report + "/junit.xml"));
  }
  if (!options.json.empty()) TRY_OK(reports::write_json(result, options.json));
  if (!options.junit.empty()) TRY_OK(reports::write_junit(result, options.junit));
  return sim::ok();
}

int report(const RunResult& result, const Options& options) {
  if (options.tap)
    fmt::print("{}", reports::to_tap(result));
  else
    fmt::print("{}", reports::summary(result, {.colour = !options.no_color && isatty(1) != 0,
                                               .quiet = options.quiet}));
  if (const auto written = write_reports(result, options); !written)
    return fail({kHarnessFailed, "cannot write a report: " + written.error().desc});
  return result.exit_code();
}

// A real QEMU leaves its worker waiting about half of the time (measured): two workers a processor.
static unsigned default_jobs(const std::vector<conformance::TargetChoice>& targets) {
  const unsigned processors = std::max(1U, std::thread::hardware_concurrency());
  const bool real = std::ranges::any_of(targets, [](const conformance::TargetChoice& target) {
    return !target.name.starts_with("sim");
  });
  return real ? 2 * processors : processors;
}

// Ctrl-C and SIGTERM end the run after the scenarios at hand, so that every QEMU and directory is
// cleared away; a second one ends it at once.
static std::atomic<bool> interrupted = false;
extern "C" {
static void on_signal(int number) {
  interrupted = true;
  (void)std::signal(number, SIG_DFL);
}
}

int run_command(const Options& options) {
  auto loaded = load_named(options.names);
  if (!loaded) return fail(loaded.error());
  if (const auto kept = select(loaded->scenarios, options); !kept) return fail(kept.error());
  if (const auto known = check_normalisations(options); !known) return fail(known.error());
  const auto targets = choose_targets(options.targets);
  if (!targets) return fail(targets.error());
  reports::Progress progress(std::cerr, !options.quiet && isatty(2) != 0, 100);
  progress.start(loaded->scenarios.size() * targets->size());
  conformance::RunnerOptions runner;
  runner.seed = options.seed;
  runner.jobs = options.jobs != 0 ? options.jobs : default_jobs(*targets);
  runner.switched_off = options.no_normalise;
  runner.keep = options.keep;
  runner.seconds = options.seconds;
  runner.stop = &interrupted;
  (void)std::signal(SIGINT, on_signal);
  (void)std::signal(SIGTERM, on_signal);
  runner.progress = [&](const ScenarioResult& result) { progress.add(result); };
  const RunResult result = conformance::run_scenarios(loaded->scenarios, *targets, runner);
  progress.finish();
  const int code = report(result, options);
  if (interrupted) return fail({kHarnessFailed, "interrupted; what had run is reported"});
  return code;
}

}  // namespace cli
