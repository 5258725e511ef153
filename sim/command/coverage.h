// docs/qmp-coverage.md: which commands and events each release has, and which are handled here.

#pragma once

#include <string>

namespace sim::command {

// The page, in Markdown, from the declarations (sim/qmp/declarations) and the commands' tables.
std::string qmp_coverage();

}  // namespace sim::command
