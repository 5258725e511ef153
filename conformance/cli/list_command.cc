#include <fmt/format.h>

#include "conformance/cli/commands.h"
#include "conformance/cli/scenario_files.h"
#include "sim/command/coverage.h"

namespace cli {

int list_command(const Options& options) {
  if (options.qmp) {
    fmt::print("{}", sim::command::qmp_coverage());
    return kConforms;
  }
  const auto loaded = load_named(options.names);
  if (!loaded) return fail(loaded.error());
  for (const conformance::Scenario& scenario : loaded->scenarios) fmt::print("{}\n", scenario.id);
  if (!options.quiet)
    fmt::print(stderr, "{} scenarios, {} combinations excluded\n", loaded->scenarios.size(),
               loaded->excluded.size());
  return kConforms;
}

}  // namespace cli
