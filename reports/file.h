// Report files appear whole or not at all.

#pragma once

#include <string>
#include <string_view>

#include "sim/base/result.h"

namespace reports {

// Writes `text` to a new file beside `path`, flushes it, and renames it to `path`.  On an error
// `path` is as it was, and nothing is left beside it.  What is there but no regular file (a
// terminal, a pipe) is written to as it is.
sim::Result<> write_file(const std::string& path, std::string_view text);

}  // namespace reports
