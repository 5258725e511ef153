// Text from outside (QEMU's stderr, file names, scenario files) made fit for where it is shown.

#pragma once

#include <string>
#include <string_view>

namespace reports {

// Fit for a terminal: control characters but newline and tab become "\x1b" and the like, bytes that
// are no UTF-8 become U+FFFD.
std::string printable(std::string_view text);

// Fit for XML 1.0, of which not every character is one (production [2] Char): what is not allowed,
// or no UTF-8, becomes U+FFFD.  Markup is not escaped; libxml2 does that.
std::string xml_text(std::string_view text);

// On one line: every stretch of white space becomes one space, none at the ends.
std::string one_line(std::string_view text);

}  // namespace reports
