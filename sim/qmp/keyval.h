// Trees of options that were written as text.

#pragma once

#include <string_view>

#include "sim/base/json.h"
#include "sim/base/result.h"
#include "sim/qmp/schema.h"

namespace sim::qmp {

// Makes lists of the objects in `tree` whose members' names are numbers from 0 on: "Parameter 'a.1'
// missing", "Parameters 'a.*' used inconsistently".
Result<> make_lists(Json& tree);

// Gives the strings in a tree the types that the declared type asks for.  What is missing or
// unknown is left to Schema's checks.
Result<Json> typed_keyval(const Schema& schema, std::string_view type, Json value);

}  // namespace sim::qmp
