// `${name}` in scenario files.  `${dir}` is not a variable: it stays until a target says what its
// directory is.

#pragma once

#include <map>
#include <set>
#include <string>

#include "conformance/scenario/first_error.h"
#include "sim/base/json.h"

namespace conformance {

using Variables = std::map<std::string, sim::Json>;

// Adds the name of every variable that `value` refers to.
void collect_variables(const sim::Json& value, const std::string& place,
                       std::set<std::string>& names, FirstError& error);

// The value with its variables replaced:
//   "${name}"      as a whole string: by the variable's value, of any type
//   "…${name}…"    inside a string: by the text of a string or integer
//   "${name...}"   as an element of an array: by the elements of the variable, an array
// Keys of objects are never replaced.
sim::Json substitute(const sim::Json& value, const Variables& variables, const std::string& place,
                     FirstError& error);

}  // namespace conformance
