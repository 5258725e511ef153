// Base64 (RFC 4648, section 4), with padding.

#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sim {

std::string encode_base64(std::string_view bytes);

// White space is ignored, as GLib does; nothing if it is not valid.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace sim
