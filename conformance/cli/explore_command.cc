#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "conformance/cli/commands.h"
#include "conformance/cli/selection.h"
#include "conformance/property/explore.h"

namespace cli {

namespace property = conformance::property;

static Expected<property::ExploreOptions> to_explore_options(const Options& options) {
  const std::string name = options.property.empty() ? "block-copy" : options.property;
  if (std::ranges::find(property::kProperties, name) == property::kProperties.end())
    return std::unexpected(
        Failure{kBadInput, fmt::format("--property {}: no such property; there is: {}", name,
                                       fmt::join(property::kProperties, ", "))});
  if (!options.names.empty())
    return std::unexpected(Failure{
        kBadInput,
        fmt::format("explore takes no scenario, found '{}'; give --property", options.names[0])});
  TargetRequest request = options.targets;
  if (request.specs.empty()) request.specs = {"sim", "qemu"};
  auto targets = choose_targets(request);
  if (!targets) return std::unexpected(targets.error());
  property::ExploreOptions explore;
  const auto shard = parse_shard(options.shard);
  if (!shard) return std::unexpected(shard.error());
  const std::uint64_t cases = options.cases != 0 ? options.cases : 100;
  explore.property = name;
  explore.seed = options.seed;
  explore.cases = (cases + shard->count - 1) / shard->count;
  if (shard->count > 1) explore.seed = conformance::seed_of(options.seed, options.shard);
  explore.seconds = options.seconds;
  explore.targets = *std::move(targets);
  explore.switched_off = options.no_normalise;
  if (!options.output.empty()) explore.output = options.output;
  explore.keep = options.keep;
  return explore;
}

// The invocation that draws the same cases.
static std::string again(const Options& options, const property::ExploreOptions& explore,
                         const property::Explored& explored) {
  std::string command = "understudy explore";
  for (const std::string& target : options.targets.specs) command += " --target " + target;
  const std::uint64_t cases = options.seconds != 0 ? explored.cases + 1 : explore.cases;
  return fmt::format("{} --property {} --seed {} --cases {}", command, explore.property,
                     explore.seed, cases);
}

// What was explored, as reports show it: one result for each target.
static conformance::RunResult as_run(const property::ExploreOptions& explore) {
  conformance::RunResult run;
  run.version = UNDERSTUDY_VERSION;
  run.seed = explore.seed;
  for (const conformance::TargetChoice& target : explore.targets) {
    run.targets.push_back({target.name, target.version});
    conformance::ScenarioResult& result = run.results.emplace_back();
    result.id = "explore/" + explore.property;
    result.target = target.name;
    if (target.skip_because.empty()) continue;
    result.verdict = conformance::Verdict::skipped;
    result.detail = target.skip_because;
  }
  return run;
}

static void print_count(const property::ExploreOptions& explore, const property::Explored& done) {
  std::string others;
  for (std::size_t i = 1; i < explore.targets.size(); ++i)
    others += (i == 1 ? "" : ", ") + explore.targets[i].name;
  fmt::print("{}, seed {}: {} cases on {}", explore.property, explore.seed, done.cases,
             explore.targets.front().name);
  if (!others.empty()) fmt::print(", {} of them on {} as well", done.shared, others);
  if (done.discarded != 0) fmt::print("; {} without a verdict were drawn anew", done.discarded);
  if (done.unsteady != 0) fmt::print("; {} failed once and not again", done.unsteady);
  fmt::print("\n");
}

int explore_command(const Options& options) {
  auto explore = to_explore_options(options);
  if (!explore) return fail(explore.error());
  const bool chatty = !options.quiet && !options.tap;
  const bool shows_progress = chatty && isatty(2) != 0;
  if (shows_progress)
    explore->progress = [](std::uint64_t cases) {
      if (cases % 20 == 0) std::cerr << "\r" << cases << " cases" << std::flush;
    };
  const property::Explored done = property::explore(*explore);
  if (shows_progress) std::cerr << "\r\x1b[K" << std::flush;
  if (chatty) print_count(*explore, done);
  if (!done.broken.empty()) {
    const int code = fail({kHarnessFailed, done.broken});
    fmt::print(stderr, "again: {}\n", again(options, *explore, done));
    return code;
  }
  if (!done.found) {
    Options files = options;
    files.quiet = true;
    return report(as_run(*explore), files);
  }
  if (chatty)
    fmt::print("found by case {}, shrunk in {} tries to {} steps: {}\n\n", done.found->at_case,
               done.found->shrink_tries, done.found->scenario.steps.size(), done.found->file);
  return report(done.found->run, options);
}

}  // namespace cli
