#include "conformance/cli/selection.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

namespace cli {

using conformance::Scenario;

Expected<Shard> parse_shard(const std::string& text) {
  if (text.empty()) return Shard{};
  Shard shard;
  const char* end = text.data() + text.size();
  const auto [slash, first] = std::from_chars(text.data(), end, shard.index);
  if (first == std::errc{} && slash != end && *slash == '/') {
    const auto [rest, second] = std::from_chars(slash + 1, end, shard.count);
    if (second == std::errc{} && rest == end && shard.index >= 1 && shard.index <= shard.count)
      return shard;
  }
  return std::unexpected(
      Failure{kBadInput, fmt::format("--shard {}: give I/N with 1 <= I <= N, such as 1/4", text)});
}

Expected<void> select(std::vector<Scenario>& scenarios, const Options& options) {
  const auto shard = parse_shard(options.shard);
  if (!shard) return std::unexpected(shard.error());
  if (shard->count > 1)
    std::erase_if(scenarios, [&](const Scenario& scenario) {
      return !conformance::in_shard(options.seed, scenario.id, shard->index, shard->count);
    });
  if (options.cases == 0 || options.cases >= scenarios.size()) return {};
  const auto draw = [&](const Scenario& scenario) {
    return conformance::seed_of(options.seed, scenario.id);
  };
  std::multiset<std::uint64_t> drawn;
  for (const Scenario& scenario : scenarios) drawn.insert(draw(scenario));
  const std::uint64_t limit = *std::next(drawn.begin(), static_cast<std::ptrdiff_t>(options.cases));
  std::erase_if(scenarios, [&](const Scenario& scenario) { return draw(scenario) >= limit; });
  return {};
}

}  // namespace cli
