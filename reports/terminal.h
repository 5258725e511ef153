// What a person sees: progress while it runs, and the summary.

#pragma once

#include <cstdint>
#include <ostream>
#include <string>

#include "conformance/verdict/verdict.h"

namespace reports {

struct TerminalOptions {
  bool colour = true;
  bool quiet = false;             // failures only; nothing at all if there are none
  std::size_t failures_max = 20;  // shown in full; the others are in the report files
};

// A table with a row for each target and a column for each verdict; reasons of what is known or
// skipped, counted; then every failure: requirement, expected, actual, place, transcript, and as
// its last line "again: …".
std::string summary(const conformance::RunResult& run, const TerminalOptions& options);

// One line that is overwritten as scenarios end; nothing if `out` is not a terminal.
class Progress {
 public:
  // `width` is the terminal's, in columns.
  Progress(std::ostream& out, bool is_terminal, std::size_t width)
      : out_(out), is_terminal_(is_terminal), width_(width) {}

  void start(std::uint64_t total);
  void add(const conformance::ScenarioResult& result);
  // Takes the line away.
  void finish();

 private:
  void show(const std::string& id);

  std::ostream& out_;
  bool is_terminal_;
  std::size_t width_;
  std::uint64_t total_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t failed_ = 0;
};

}  // namespace reports
