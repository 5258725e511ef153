#include "reports/terminal.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "reports/failure.h"
#include "reports/text.h"

namespace reports {
namespace {

using conformance::kVerdictNames;
using conformance::RunResult;
using conformance::ScenarioResult;
using conformance::Verdict;

constexpr std::string_view kRed = "\x1b[31m";
constexpr std::string_view kGreen = "\x1b[32m";
constexpr std::string_view kYellow = "\x1b[33m";
constexpr std::string_view kBold = "\x1b[1m";
constexpr std::string_view kReset = "\x1b[0m";
constexpr std::string_view kClearLine = "\r\x1b[K";

std::string_view colour_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::conforms:
      return kGreen;
    case Verdict::diverges:
    case Verdict::broken:
      return kRed;
    case Verdict::known:
    case Verdict::skipped:
      return kYellow;
  }
  return {};
}

bool is_failure(const ScenarioResult& result) {
  return result.verdict == Verdict::diverges || result.verdict == Verdict::broken;
}

class Summary {
 public:
  Summary(const RunResult& run, const TerminalOptions& options) : run_(run), options_(options) {}

  std::string text() {
    if (!options_.quiet) {
      table();
      reasons(Verdict::known);
      reasons(Verdict::skipped);
    }
    stale();
    failures();
    return std::move(text_);
  }

 private:
  std::string painted(std::string_view colour, std::string_view what) const {
    if (!options_.colour) return std::string(what);
    return fmt::format("{}{}{}", colour, what, kReset);
  }

  void table();
  void reasons(Verdict verdict);
  void stale();
  void failures();

  const RunResult& run_;
  const TerminalOptions& options_;
  std::string text_;
};

void Summary::table() {
  std::size_t name_width = std::string_view("target").size();
  std::size_t version_width = std::string_view("version").size();
  for (const conformance::TargetInfo& target : run_.targets) {
    name_width = std::max(name_width, target.name.size());
    version_width = std::max(version_width, target.version.size());
  }
  std::string head = fmt::format("{:<{}}  {:<{}}", "target", name_width, "version", version_width);
  for (const std::string_view verdict : kVerdictNames) head += fmt::format("  {:>8}", verdict);
  text_ += painted(kBold, head) + "\n";
  for (const conformance::TargetInfo& target : run_.targets) {
    conformance::Totals totals;
    for (const ScenarioResult& result : run_.results)
      if (result.target == target.name)
        ++totals.by_verdict[static_cast<std::size_t>(result.verdict)];
    text_ += fmt::format("{:<{}}  {:<{}}", printable(target.name), name_width,
                         printable(target.version), version_width);
    for (std::size_t i = 0; i < kVerdictNames.size(); ++i) {
      const std::string count = fmt::format("{:>8}", totals.by_verdict[i]);
      const auto colour = colour_of(static_cast<Verdict>(i));
      text_ += "  " + (totals.by_verdict[i] == 0 ? count : painted(colour, count));
    }
    text_ += "\n";
  }
  text_ += fmt::format("{} results in {:.1f} s, seed {}\n", run_.results.size(), run_.seconds,
                       run_.seed);
}

void Summary::reasons(Verdict verdict) {
  std::map<std::string, std::uint64_t> counts;  // by target and reason
  for (const ScenarioResult& result : run_.results)
    if (result.verdict == verdict)
      ++counts[fmt::format("{}: {}", result.target, one_line(result.detail))];
  if (counts.empty()) return;
  text_ += "\n" + painted(colour_of(verdict), name_of(verdict)) + "\n";
  for (const auto& [reason, count] : counts)
    text_ += fmt::format("  {:>6} x {}\n", count, printable(reason));
}

void Summary::stale() {
  if (run_.stale_expectations.empty()) return;
  text_ += (text_.empty() ? "" : "\n") +
           painted(kRed, "known divergences that no longer show: remove them") + "\n";
  for (const std::string& stale : run_.stale_expectations)
    text_ += "  " + printable(one_line(stale)) + "\n";
}

void Summary::failures() {
  std::uint64_t left = static_cast<std::uint64_t>(std::ranges::count_if(run_.results, is_failure));
  if (left > options_.failures_max)
    text_ += fmt::format("{}{} failures; the first {}:\n", text_.empty() ? "" : "\n", left,
                         options_.failures_max);
  std::size_t shown = 0;
  for (const ScenarioResult& result : run_.results) {
    if (!is_failure(result)) continue;
    if (shown++ == options_.failures_max) return;
    text_ += fmt::format("{}{} {} on {}\n", text_.empty() ? "" : "\n",
                         painted(colour_of(result.verdict), name_of(result.verdict)),
                         painted(kBold, printable(result.id)), printable(result.target));
    text_ += failure_text(result, "  ");
  }
}

}  // namespace

std::string summary(const RunResult& run, const TerminalOptions& options) {
  return Summary(run, options).text();
}

void Progress::start(std::uint64_t total) { total_ = total; }

void Progress::add(const ScenarioResult& result) {
  ++done_;
  if (is_failure(result)) ++failed_;
  show(result.id);
}

void Progress::show(const std::string& id) {
  if (!is_terminal_ || width_ == 0) return;
  // Seldom enough that a thousand scenarios a second are not slowed down by it.
  const std::uint64_t every = std::max<std::uint64_t>(1, total_ / 200);
  if (done_ % every != 0 && done_ != total_) return;
  std::string line = fmt::format("{}/{}", done_, total_);
  if (failed_ != 0) line += fmt::format("  {} failed", failed_);
  line += "  " + printable(one_line(id));
  if (line.size() >= width_) {
    line.resize(width_ - 1);
    while (!line.empty() && (line.back() & 0x80) != 0) line.pop_back();  // no half characters
  }
  out_ << kClearLine << line << std::flush;
}

void Progress::finish() {
  if (is_terminal_) out_ << kClearLine << std::flush;
}

}  // namespace reports
