// Validation against a JSON Schema (draft-07).

#pragma once

#include <string>
#include <string_view>

#include "conformance/scenario/input_error.h"
#include "sim/base/json.h"

namespace conformance {

// Nothing if `document` is valid; else where it first is not, in the words of the schema's own
// descriptions.  An error in the schema's text is reported for the file "scenario.schema.json".
InputResult<void> validate(const sim::Json& document, const std::string& file,
                           std::string_view schema_text);

}  // namespace conformance
