// JSON as QEMU prints it in texts (file names that begin with "json:"): members in the order of its
// hash table, a space behind every comma and colon.

#pragma once

#include <string>

#include "sim/base/json.h"
#include "sim/base/result.h"

namespace sim {

// Source of the order: QEMU's dictionaries have 512 buckets and go through them in turn; the hash
// is that of the Trivial Database.  Members that share a bucket stand in reverse order of their
// names here (QEMU: the younger first).  Seen alike on 5.2, 7.2 and 11.1.
std::string qdict_text(const Json& value);

// An object without objects and lists in it: "cache": {"direct": true} is "cache.direct": true, and
// the first element of a list x is "x.0".  Empty ones stay.
Json qdict_flatten(const Json& object);

// The way back, but for lists: "a.b": 1 is "a": {"b": 1}.  "Cannot mix scalar and non-scalar keys"
// with EINVAL for what is both.
Result<Json> qdict_nest(const Json& object);

}  // namespace sim
