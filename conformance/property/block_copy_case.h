// One random block copy: what is drawn, how it becomes a scenario, and how it gets smaller.
//
// A case is a plan, not a list of steps: which steps make sense depends on what the model says of
// the call (refused, fails, held, ready).  So a case stays meaningful whatever is taken from it.

#pragma once

#include <rapidcheck/Gen.h>

#include <optional>
#include <string>
#include <vector>

#include "conformance/property/case.h"
#include "conformance/scenario/scenario.h"

namespace conformance::property {

// How the copy ends; simplest first, which is the way of shrinking.
enum class End : unsigned char {
  abort,
  pivot,
  abort_async,
  leave,        // the job goes on until the machine ends
  early_abort,  // before READY; only of a copy that is held, else like abort
};

struct BlockCopyCase {
  std::vector<Image> images;       // backing images before those that use them
  std::string active;              // the image of disk vda
  std::string destination;         // file name; there beforehand if an image is called so
  std::vector<std::string> flags;  // beside "copy"
  bool held = false;               // a bandwidth of 1 byte/s; lifted when READY is wanted
  bool early_pivot = false;        // tried while held, refused
  std::vector<GuestStep> while_held;
  std::vector<GuestStep> while_ready;
  std::vector<GuestStep> afterwards;
  End end = End::abort;
};

// `id` names the scenario in reports.
PlannedScenario to_scenario(const BlockCopyCase& drawn, std::string id);

// Chain depth 1 to 4, members of different sizes (512 bytes to 4 MiB), cluster sizes, writes with
// unaligned edges; every subset of the flags; destinations that are absent, empty, of the right or
// wrong size and format, with old data, with the right, a wrong or no backing file.
rc::Gen<BlockCopyCase> block_copy_cases();

// All ways to take one thing away or to make it plainer, the boldest first.  None of them leads
// back: repeated, they come to an end.
std::vector<BlockCopyCase> smaller(const BlockCopyCase& from);

// Removes what does not fit (writes beyond an image's end, backing files that are gone).
void repair(BlockCopyCase& drawn);

}  // namespace conformance::property
