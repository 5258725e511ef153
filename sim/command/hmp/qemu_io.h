// HMP's `qemu-io -d QDEV "verb …"`: requests as the guest makes them.

#pragma once

#include <string>
#include <vector>

#include "sim/command/context.h"

namespace sim::command::hmp {

// Splits a command line into words at spaces; double quotes keep a word together.
std::vector<std::string> split_words(std::string_view line);

// Runs one verb through a backend.  An error: the node cannot be written to (of the monitor, not of
// the request).  What qemu-io prints is appended to `output` (QEMU's
// own standard output: the QMP reply stays empty, whether the request succeeded or not).
Task<Result<>> run_qemu_io(block::Backend& backend, std::string verb_line, std::string& output);

}  // namespace sim::command::hmp
