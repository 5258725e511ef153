#include "conformance/run/conversation.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>

#include "sim/base/text.h"

namespace conformance {

using Kind = TranscriptEntry::Kind;

// What both kinds of domain have in common: real libvirt starts QEMU in its own way, at first and
// within a revert, and asks it to tell of migrations, which saving a machine's state is.
static Transcript without_starts(const Transcript& transcript) {
  Transcript rest;
  bool starting = true;
  for (const TranscriptEntry& entry : transcript) {
    if (entry.kind == Kind::call) starting = false;
    if (entry.kind == Kind::result) starting = false;
    const bool of_migration = entry.kind == Kind::event && entry.name.starts_with("MIGRATION");
    if (!starting && !of_migration) rest.push_back(entry);
    if (entry.kind == Kind::call && entry.name == "snapshotRevert") starting = true;
  }
  return rest;
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
  const Transcript a = without_starts(left.transcript), b = without_starts(right.transcript);
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
