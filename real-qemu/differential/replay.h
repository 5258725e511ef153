// Sequences of QMP requests as data (qmp_requests.json), sent to any target, and what came back in
// a form that two targets can be compared by.

#pragma once

#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "conformance/target/target.h"

namespace differential {

using sim::Json;

// One request and what may be known about it.
//   {"execute": …, "arguments": …}          a request; "${dir}" is the session's directory
//   {"await": EVENT, "status": STATUS}      waits for that event; `status` is JOB_STATUS_CHANGE's
//   {"until": {"execute": …}, "at": POINTER, "is": VALUE}   asks until the reply is so
// A request may also say
//   "unsupported": true                     the simulator refuses it by name ("understudy: …");
//                                           QEMU is not asked, so that both stay alike
//   "known_difference": REASON              the replies differ, and why that is left so
using Step = Json;

struct Sequence {
  std::string name;
  // "none"; "chain": base <- snap1 <- snap2 under a disk, and a copy; "copies": two more copies;
  // "copies without device": the same without the disk.
  std::string layout;
  bool drain_pairs_vary = false;  // how often QEMU drains is not compared
  std::vector<Step> steps;
};

// For GoogleTest.
inline void PrintTo(const Sequence& sequence, std::ostream* out) { *out << sequence.name; }

// Reads the data file; a file that cannot be read or parsed gives no sequences.
std::vector<Sequence> load_sequences(const std::string& path);

// Image files, by name, that every session begins with.
using Images = std::map<std::string, std::vector<std::byte>>;

struct Replay {
  std::vector<Json> replies;  // one for each step; null for a wait, and for what was not asked
  // By job id, in order; what belongs to no job is under "".
  std::map<std::string, std::vector<std::string>> events;
  std::string failure;  // not empty: the target hung, crashed or an awaited event did not come
};

// Runs the sequence in a fresh session; `skips_unsupported` says that the target is not the
// simulator.
Replay replay(conformance::Target& target, const Images& images, const Sequence& sequence,
              bool skips_unsupported);

}  // namespace differential
