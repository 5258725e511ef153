// Which verdicts on hostile images may differ from qemu-img's, and why: docs/stricter-than-qemu.md
// as a table for the tests.

#pragma once

#include <string>

namespace differential {

// True if our exit code for a question ("info", "check", "map", "convert") says the same as
// qemu-img's (both accept or both refuse), or if the difference is listed.  `lax`: what may differ
// with --lax.
bool agrees(const std::string& image, const std::string& question, int ours, int theirs, bool lax);

}  // namespace differential
