// What a program costs: processor time and the most memory it had, from the system's own account.

#pragma once

#include <string>
#include <vector>

namespace cli {

struct Cost {
  bool ended_well = false;  // exit code 0
  double milliseconds = 0;  // user and system
  double peak_mib = 0;      // resident
};

// Runs `command` (the program first) in `directory`, its output thrown away, to its end.
Cost cost_of(const std::vector<std::string>& command, const std::string& directory);

// The ratio of ours to theirs, run in turns so that both meet the same machine: the median of
// `rounds` pairs, and of what each took.  Before each run the shell command `before` is run,
// uncounted; "" is none.  Not `ended_well` if a run was not.
struct Pair {
  Cost ours, theirs;
  double ratio = 0;
};
struct Contest {
  std::vector<std::string> ours, theirs;
  std::string before = {};
};
Pair compete(const Contest& contest, const std::string& directory, int rounds);

}  // namespace cli
