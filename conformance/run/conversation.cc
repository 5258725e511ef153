#include "conformance/run/conversation.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>

#include "sim/base/text.h"

namespace conformance {

using Kind = TranscriptEntry::Kind;

static Transcript from_first_call(const Transcript& transcript) {
  return {std::ranges::find(transcript, Kind::call, &TranscriptEntry::kind), transcript.end()};
}

// Answers of calls and the domain's events.
static std::vector<std::string> told_of(const Transcript& transcript,
                                        const std::string& directory) {
  std::vector<std::string> told;
  for (const TranscriptEntry& entry : transcript)
    if (entry.kind == Kind::result || entry.kind == Kind::note)
      told.push_back(directory.empty() ? to_line(entry)
                                       : sim::replace_all(to_line(entry), directory, "${dir}"));
  return told;
}

std::vector<Divergence> compare_conversations(const Executed& left, const Executed& right,
                                              const check::Switched& off) {
  if (left.has_own_domain == right.has_own_domain)
    return check::compare_transcripts({left.transcript, left.directory},
                                      {right.transcript, right.directory}, off);
  const Transcript a = from_first_call(left.transcript), b = from_first_call(right.transcript);
  auto found = check::compare_transcripts({a, left.directory}, {b, right.directory}, off);
  const auto mine = told_of(a, left.directory), others = told_of(b, right.directory);
  const auto [at, other] = std::ranges::mismatch(mine, others);
  if (at != mine.end() || other != others.end())
    found.push_back({DivergenceClass::error, "both domains answer and report the same",
                     at == mine.end() ? "nothing more" : *at,
                     other == others.end() ? "nothing more" : *other,
                     fmt::format("answer or event {}", at - mine.begin() + 1)});
  return found;
}

}  // namespace conformance
