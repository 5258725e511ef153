// Real files that are being made and have not got their names yet.

#pragma once

#include <string>

namespace sim::storage {

// RealFiles calls these: create_new() has made `path`; it has been renamed, or removed.
void remember_unfinished(const std::string& path);
void forget_unfinished(const std::string& path);

// Removes those that are remembered: for the handler of a signal that ends the process, which may
// call it.
void remove_unfinished() noexcept;

}  // namespace sim::storage
