// The ordered record of one run of one scenario on one target.

#pragma once

#include <string>
#include <vector>

#include "conformance/target/hypervisor.h"

namespace conformance {

struct TranscriptEntry {
  enum class Kind : unsigned char { command, reply, event, call, result, note };
  Kind kind = Kind::note;
  std::string name;  // the command, event or API call
  Json content;      // arguments, reply, event data, or a note's text
};

// One line: "-> blockdev-mirror {…}", "<- {…}", "!! JOB_STATUS_CHANGE {…}", "## blockRebase(…)".
std::string to_line(const TranscriptEntry& entry);

using Transcript = std::vector<TranscriptEntry>;

// The arguments of a QMP command as they may be written down: the data of secret objects (QMP and
// HMP) is hidden.
Json without_secrets(std::string_view command, const Json& arguments);

// A Hypervisor that writes down what passes through it, but for secrets.
class RecordingHypervisor final : public Hypervisor {
 public:
  RecordingHypervisor(Hypervisor& next, Transcript& transcript)
      : next_(next), transcript_(transcript) {}
  Outcome<Json> execute(std::string_view command, const Json& arguments) override;
  Outcome<std::optional<Event>> poll_event() override;
  Outcome<std::optional<Event>> next_event(std::chrono::milliseconds limit) override;

 private:
  Outcome<std::optional<Event>> recorded(Outcome<std::optional<Event>> event);
  Hypervisor& next_;
  Transcript& transcript_;
};

}  // namespace conformance
