#include "reports/text.h"

#include <fmt/format.h>

#include <cstdint>

namespace reports {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr char32_t kNone = 0xFFFFFFFF;

struct Decoded {
  char32_t code = kNone;   // kNone: no character
  std::size_t length = 1;  // bytes it takes
};

// The character that `text`, which is not empty, begins with (RFC 3629: no surrogates, no longer
// forms than needed, nothing beyond U+10FFFF).
Decoded decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return {first, 1};
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return {};
  char32_t code = first & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80) return {};
    code = (code << 6) | (byte(i) & 0x3FU);
  }
  const bool too_long = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  if (too_long || (code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF) return {};
  return {code, length};
}

// `write(code, bytes)` says what becomes of each character.
template <class Write>
std::string mapped(std::string_view text, Write write) {
  std::string result;
  while (!text.empty()) {
    const Decoded next = decode(text);
    result += next.code == kNone ? std::string(kReplacement)
                                 : write(next.code, text.substr(0, next.length));
    text.remove_prefix(next.length);
  }
  return result;
}

bool is_xml_char(char32_t code) {
  return code == '\t' || code == '\n' || code == '\r' ||
         (code >= 0x20 && code != 0xFFFE && code != 0xFFFF);
}

}  // namespace

std::string printable(std::string_view text) {
  return mapped(text, [](char32_t code, std::string_view bytes) {
    const bool control =
        (code < 0x20 && code != '\n' && code != '\t') || (code >= 0x7F && code < 0xA0);
    return control ? fmt::format("\\x{:02x}", static_cast<unsigned>(code)) : std::string(bytes);
  });
}

std::string xml_text(std::string_view text) {
  return mapped(text, [](char32_t code, std::string_view bytes) {
    return std::string(is_xml_char(code) ? bytes : kReplacement);
  });
}

std::string one_line(std::string_view text) {
  std::string result;
  bool gap = false;
  for (const char c : text) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      gap = true;
      continue;
    }
    if (gap && !result.empty()) result += ' ';
    gap = false;
    result += c;
  }
  return result;
}

}  // namespace reports
