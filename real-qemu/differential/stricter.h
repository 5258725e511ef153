// Which verdicts on hostile images may differ from qemu-img's: docs/stricter-than-qemu.md as a
// table for the tests.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "real-qemu/differential/shell.h"

namespace differential {

// A rule of the document, by words of its row, and what a refusal by it says on standard error.
struct StricterRule {
  std::string_view row;
  std::string_view refusal;
  bool always = false;  // --lax does not switch it off
};
const std::vector<StricterRule>& stricter_rules();

// True if our answer to a question ("info", "check", "map", "convert") gives the verdict of
// qemu-img's exit code (both accept or both refuse), or if it refuses by a rule of the document.
// With `lax` only rules that are never off count.
bool agrees(std::string_view question, const Ran& ours, int theirs, bool lax);

}  // namespace differential
