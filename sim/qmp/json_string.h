// What a JSON string token means, in QEMU's reading.

#pragma once

#include <expected>
#include <string>
#include <string_view>

namespace sim::qmp {

// `token` has its quotes, of either kind.  The text is UTF-8; the error is what QEMU says behind
// "JSON parse error, ".  Escapes are JSON's and \'; lone surrogates and noncharacters are refused,
// escaped or not.
std::expected<std::string, std::string> decode_string(std::string_view token);

}  // namespace sim::qmp
