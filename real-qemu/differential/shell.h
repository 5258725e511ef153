// Shell lines, run with a limit on time, and what they cost.

#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace differential {

struct Ran {
  int code = -1;   // exit code; -1: it was not started
  int signal = 0;  // what ended it, if not itself
  bool hung = false;
  std::string out;
  std::string err;
  std::uint64_t resident_kib = 0;  // at its peak, of the largest single process
};

struct Limits {
  std::chrono::seconds time{120};
  std::uint64_t file_bytes = 0;  // RLIMIT_FSIZE; 0: none
};

// Runs a program (a path, or a name in $PATH) in `directory`, with an empty standard input.
Ran run_program(const std::vector<std::string>& command, const std::string& directory,
                const Limits& limits = {});

// Runs `lines` by sh -e, with `variables` in its environment.
Ran run_shell(const std::vector<std::string>& lines, const std::string& directory,
              const std::map<std::string, std::string>& variables);

// A shell line that runs `line` until it succeeds, 200 times at most.  For commands that make a
// key: there QEMU measures the processor, and on some machines that fails more often than not.
std::string until_measured(const std::string& line);

}  // namespace differential
