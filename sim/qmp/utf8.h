// UTF-8 as QEMU reads it: with "\xC0\x80" for U+0000, in sequences of up to six bytes, without
// surrogates and noncharacters.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sim::qmp {

// No code point: what stands there is not valid.
inline constexpr std::int32_t kNoCodePoint = -1;

// Takes the first code point off `text`, which must not be empty.  Of an invalid sequence it takes
// what can be its beginning, at least one byte.  A zero byte is not valid.
std::int32_t take_code_point(std::string_view& text);

bool is_code_point(std::int32_t value);

// Appends the (plain) UTF-8 of a code point; U+0000 becomes a zero byte.
void append_code_point(std::string& text, std::int32_t value);

// `text` up to a zero byte, with U+FFFD for each invalid sequence: how QEMU shows bytes in texts.
std::string shown(std::string_view text);

}  // namespace sim::qmp
