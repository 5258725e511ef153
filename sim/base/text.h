// Small questions about texts that several rooms ask.

#pragma once

#include <string>
#include <string_view>

namespace sim {

// True if `name` may be given to a node, a job or a device: an ASCII letter, then letters, digits,
// '-', '.', '_' (QEMU's id rule, measured on 7.2).
bool is_well_formed_id(std::string_view name);

// True if `value` is one of `values`, which stand between bars: "full|top|none".
bool is_listed(std::string_view values, std::string_view value);

// True if a protocol stands in front of a file name ("nbd:…", "json:…"; QEMU: path_has_protocol).
bool has_protocol(std::string_view name);

// `text` with every `what` (nothing, if it is empty) replaced by `with`.
std::string replace_all(std::string text, std::string_view what, std::string_view with);

}  // namespace sim
