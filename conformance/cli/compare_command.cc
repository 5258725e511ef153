// understudy compare: what differs between two targets, whatever the model says.

#include <fmt/format.h>

#include <chrono>

#include "conformance/cli/commands.h"
#include "conformance/cli/scenario_files.h"
#include "conformance/cli/selection.h"
#include "conformance/run/conversation.h"
#include "conformance/run/execution.h"
#include "conformance/run/transcript.h"

namespace cli {

using conformance::Divergence;
using conformance::Executed;
using conformance::RunResult;
using conformance::ScenarioResult;
using conformance::Verdict;

static ScenarioResult compare_one(const conformance::Scenario& scenario, conformance::Target& left,
                                  conformance::Target& right, const Options& options) {
  conformance::ExecutionOptions how;
  how.session.seed = conformance::seed_of(options.seed, scenario.id);
  how.switched_off = options.no_normalise;
  how.keep = options.keep;
  Executed a = execute(scenario, left, how);
  Executed b = execute(scenario, right, how);
  ScenarioResult result;
  result.id = scenario.id;
  result.target = left.name() + " against " + right.name();
  result.again = fmt::format("understudy compare --left {} --right {} --seed {} '{}'", left.name(),
                             right.name(), options.seed, scenario.id);
  if (!a.skipped.empty() || !b.skipped.empty()) {
    result.verdict = Verdict::skipped;
    result.detail = a.skipped.empty() ? b.skipped : a.skipped;
    return result;
  }
  if (!a.broken.empty() || !b.broken.empty()) {
    result.verdict = Verdict::broken;
    result.detail = a.broken.empty() ? b.broken : a.broken;
    return result;
  }
  result.divergences = scenario.is_transcript()
                           ? conformance::compare_records(a, b, options.no_normalise)
                           : conformance::compare_conversations(a, b, options.no_normalise);
  // What only one of them gets right, by the model.
  for (const auto& [mine, others, who] :
       {std::tuple{&a, &b, left.name()}, std::tuple{&b, &a, right.name()}})
    if (others->divergences.empty())
      for (Divergence divergence : mine->divergences) {
        for (std::string* text : {&divergence.expected, &divergence.actual, &divergence.place})
          *text = without_directory(std::move(*text), *mine);
        divergence.requirement = who + " alone diverges from the model: " + divergence.requirement;
        result.divergences.push_back(std::move(divergence));
      }
  if (result.divergences.empty()) return result;
  result.verdict = Verdict::diverges;
  const Divergence& first = result.divergences.front();
  result.detail = fmt::format("{}: {} against {} ({})", first.requirement, first.expected,
                              first.actual, first.place);
  result.transcript = conformance::excerpt(b);
  return result;
}

int compare_command(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  auto loaded = load_named(options.names);
  if (!loaded) return fail(loaded.error());
  if (const auto kept = select(loaded->scenarios, options); !kept) return fail(kept.error());
  TargetRequest request = options.targets;
  request.specs = {options.left, options.right};
  const auto targets = choose_targets(request);
  if (!targets) return fail(targets.error());
  RunResult result;
  result.version = UNDERSTUDY_VERSION;
  result.seed = options.seed;
  std::vector<std::unique_ptr<conformance::Target>> open;
  // Front and back are one if a target is compared with itself, as a check of determinism.
  for (const conformance::TargetChoice* choice : {&targets->front(), &targets->back()}) {
    if (!choice->skip_because.empty())
      return fail({kHarnessFailed, "nothing to compare with: " + choice->skip_because});
    auto target = choice->open();
    if (!target) return fail({kHarnessFailed, target.error().detail});
    open.push_back(*std::move(target));
  }
  result.targets = {{open[0]->name() + " against " + open[1]->name(),
                     open[0]->version() + " / " + open[1]->version()}};
  for (const conformance::Scenario& scenario : loaded->scenarios) {
    if (options.seconds != 0 &&
        std::chrono::steady_clock::now() - start > std::chrono::seconds(options.seconds))
      break;
    result.results.push_back(compare_one(scenario, *open[0], *open[1], options));
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report(result, options);
}

}  // namespace cli
