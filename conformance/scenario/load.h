// Reading scenarios: JSON with comments, a schema, a matrix.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "conformance/scenario/input_error.h"
#include "conformance/scenario/scenario.h"

namespace conformance {

struct LoadedFile {
  std::vector<Scenario> scenarios;
  std::vector<Excluded> excluded;
};

// Reads one file's text.  `id` is the path without suffix ("matrix/block-copy"); `file` is used in
// messages only.  `schema` is the text of scenarios/scenario.schema.json.
InputResult<LoadedFile> load_scenarios(std::string_view text, const std::string& id,
                                       const std::string& file, std::string_view schema);

// The scenario as a file's text, without a matrix: loading it gives the same scenario.
std::string to_json_text(const Scenario& scenario);

}  // namespace conformance
