// The commands of `understudy`: each is given its parsed options and returns an exit code.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conformance/cli/targets.h"

namespace cli {

struct Options {
  std::vector<std::string> names;  // ids, groups, files
  TargetRequest targets;
  std::uint64_t seed = 1;
  std::uint64_t cases = 0;    // at most so many; 0: all scenarios, or 100 random cases
  std::uint64_t seconds = 0;  // start nothing new after this long; 0: no limit
  unsigned jobs = 0;          // 0: one per processor, two where a real QEMU takes part
  std::string shard;          // "I/N"
  std::string report;         // directory
  std::string json;
  std::string junit;
  bool tap = false;
  std::string keep;
  std::vector<std::string> no_normalise;
  bool quiet = false;
  bool qmp = false;  // list: QMP commands
  bool no_color = false;
  std::string left, right;  // compare
  std::string property;     // explore
  std::string output;       // explore: where a found scenario is written
};

int list_command(const Options& options);
int run_command(const Options& options);
int compare_command(const Options& options);
int explore_command(const Options& options);
// `understudy image`: takes its arguments as they are; exit codes are qemu-img's.
int image_command(const std::vector<std::string>& arguments);

// Writes the reports that the options ask for and the summary; gives the exit code.
int report(const conformance::RunResult& result, const Options& options);

// Prints "understudy: TEXT" on stderr and gives the failure's exit code.
int fail(const Failure& failure);

}  // namespace cli
