// Calls with something wrong in them, made from the declarations: every member of every type that
// a command takes, missing, of a wrong type, out of range, and beside one that nobody knows.

#pragma once

#include <cstddef>
#include <functional>
#include <set>
#include <vector>

#include "sim/qmp/schema.h"

namespace differential {

// Values of every kind, in and out of every range.
std::vector<sim::Json> poor_values();

// Calls `ask` with arguments for `command`, none of which a QEMU can accept.  Every
// member gets all the `poor` values, and those of an enumeration.  A type that `seen`
// holds (by its number) was dealt with by an earlier command; what is dealt with is added.
void make_malformed_calls(const sim::qmp::Message& command, const std::vector<sim::Json>& poor,
                          std::set<std::size_t>& seen,
                          const std::function<void(const sim::Json& arguments)>& ask);

}  // namespace differential
