// Comparing what was reported: a domain's events, a job's statuses.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "conformance/model/domain_model.h"
#include "conformance/target/domain_api.h"
#include "conformance/target/transcript.h"
#include "conformance/verdict/verdict.h"

namespace conformance::check {

// A way in which transcripts are made comparable.  Each is listed in the report.
struct Normalisation {
  std::string_view name;
  std::string_view reason;
};
// Of transcripts and of files: internal snapshots have dates.
inline constexpr std::string_view kSnapshotTimes = "snapshot-times";
// All of them, in the order in which they are applied.
const std::vector<Normalisation>& normalisations();
// Their names without those that were switched off.
using Switched = std::vector<std::string>;
bool is_on(std::string_view normalisation, const Switched& off);

// Block job events, in order for each disk: jobs of different disks do not wait for one another.
std::vector<Divergence> compare_events(const std::vector<BlockJobEvent>& actual,
                                       const std::vector<model::ExpectedEvent>& expected);

// The statuses that `job` went through, by JOB_STATUS_CHANGE, drains left out.
std::vector<std::string> statuses_of(const Transcript& transcript, const std::string& job,
                                     const Switched& off);
std::vector<Divergence> compare_statuses(const std::vector<std::string>& actual,
                                         const std::vector<std::string>& expected,
                                         const std::string& job);

// Two targets' transcripts of the same scenario: commands with their replies, then events job by
// job.  At most one divergence per command and per job; without reply-place, one more for the order
// of everything.
struct Side {
  const Transcript& transcript;
  std::string directory;  // what `${dir}` was
};
// `all`: with what queries tell of nodes, jobs and their progress, as far as it is stable.
enum class Detail : unsigned char { some, all };
std::vector<Divergence> compare_transcripts(const Side& left, const Side& right,
                                            const Switched& off, Detail detail = Detail::some);

}  // namespace conformance::check
