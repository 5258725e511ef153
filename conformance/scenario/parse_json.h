// Text to JSON, for files that people write: comments are allowed, slips are not.

#pragma once

#include <string>
#include <string_view>

#include "conformance/scenario/input_error.h"
#include "sim/base/json.h"

namespace conformance {

// Limits that no scenario needs to reach; what is beyond them is refused before anything looks at
// it (regular expressions and recursive readers are safe below them).
inline constexpr std::size_t kDepthMax = 64;
inline constexpr std::size_t kStringMax = 4096;  // bytes

// Reads JSON with // and /* */ comments.  Refused: syntax errors (told with line and column), a
// key given twice in one object, more than kDepthMax levels, strings above kStringMax.
InputResult<sim::Json> parse_json(std::string_view text, const std::string& file);

}  // namespace conformance
