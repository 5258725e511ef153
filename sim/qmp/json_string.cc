#include "sim/qmp/json_string.h"

#include <fmt/format.h>

#include "sim/qmp/utf8.h"

namespace sim::qmp {

namespace {

constexpr std::size_t kDigits = 4;

// Four hexadecimal digits; kNoCodePoint if they are not there.
std::int32_t hexadecimal(std::string_view text) {
  if (text.size() < kDigits) return kNoCodePoint;
  std::int32_t value = 0;
  for (const char c : text.substr(0, kDigits)) {
    const char lower = static_cast<char>(c | 0x20);
    if (c >= '0' && c <= '9')
      value = value << 4 | (c - '0');
    else if (lower >= 'a' && lower <= 'f')
      value = value << 4 | (lower - 'a' + 10);
    else
      return kNoCodePoint;
  }
  return value;
}

// What follows "\u", of which `rest` is; takes it off, two of them for a pair of surrogates.
std::int32_t take_unicode(std::string_view& rest) {
  const std::int32_t first = hexadecimal(rest);
  rest.remove_prefix(std::min(kDigits, rest.size()));
  const bool leads = first >= 0xD800 && first <= 0xDBFF;
  if (!leads || !rest.starts_with("\\u")) return first;
  const std::int32_t second = hexadecimal(rest.substr(2));
  if (second < 0xDC00 || second > 0xDFFF) return kNoCodePoint;
  rest.remove_prefix(2 + kDigits);
  return 0x10000 + ((first & 0x3FF) << 10) + (second & 0x3FF);
}

char simple_escape(char letter) {
  switch (letter) {
    case '"':
    case '\'':
    case '\\':
    case '/':
      return letter;
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return 0;
  }
}

}  // namespace

std::expected<std::string, std::string> decode_string(std::string_view token) {
  std::string text;
  std::string_view rest = token.substr(1);  // its last byte is the quote
  while (rest.size() > 1) {
    if (rest.front() != '\\') {
      const std::int32_t value = take_code_point(rest);
      if (value == kNoCodePoint) return std::unexpected("invalid UTF-8 sequence in string");
      append_code_point(text, value);
      continue;
    }
    const std::string_view begin = rest;
    const char letter = rest[1];
    rest.remove_prefix(2);
    if (letter == 'u') {
      const std::int32_t value = take_unicode(rest);
      if (!is_code_point(value))
        return std::unexpected(fmt::format("{} is not a valid Unicode character",
                                           shown(begin.substr(0, begin.size() - rest.size()))));
      append_code_point(text, value);
    } else if (const char meant = simple_escape(letter); meant != 0) {
      text.push_back(meant);
    } else {
      return std::unexpected("invalid escape sequence in string");
    }
  }
  return text;
}

}  // namespace sim::qmp
