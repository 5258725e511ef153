// Which of the scenarios are to run: --shard and --cases.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "conformance/cli/commands.h"

namespace cli {

struct Shard {
  unsigned index = 1;  // 1-based
  unsigned count = 1;
};

// Reads "I/N" with 1 <= I <= N; empty is 1/1.
Expected<Shard> parse_shard(const std::string& text);

// Keeps the scenarios of the shard that the options name, and of those as many as --cases says,
// drawn from the seed; their order stays.
Expected<void> select(std::vector<conformance::Scenario>& scenarios, const Options& options);

}  // namespace cli
