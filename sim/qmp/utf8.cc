#include "sim/qmp/utf8.h"

#include <array>
#include <bit>

namespace sim::qmp {

bool is_code_point(std::int32_t value) {
  if (value < 0 || value > 0x10FFFF) return false;
  if (value >= 0xFDD0 && value <= 0xFDEF) return false;
  return (value & 0xFFFE) != 0xFFFE && (value < 0xD800 || value > 0xDFFF);
}

std::int32_t take_code_point(std::string_view& text) {
  static constexpr std::array<std::int32_t, 5> kLeast = {0x80, 0x800, 0x10000, 0x200000, 0x4000000};
  const auto byte = static_cast<unsigned char>(text.front());
  text.remove_prefix(1);
  if (byte == 0) return kNoCodePoint;
  if (byte < 0x80) return byte;
  const auto length = static_cast<std::size_t>(std::countl_one(byte));
  if (length == 1 || length > 6) return kNoCodePoint;  // a continuation; 0xFE, 0xFF
  std::int32_t value = byte & (0x7F >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (text.empty() || (static_cast<unsigned char>(text.front()) & 0xC0) != 0x80)
      return kNoCodePoint;
    value = value << 6 | (text.front() & 0x3F);
    text.remove_prefix(1);
  }
  if (value == 0 && length == 2) return 0;
  return is_code_point(value) && value >= kLeast[length - 2] ? value : kNoCodePoint;
}

void append_code_point(std::string& text, std::int32_t value) {
  const auto put = [&](std::int32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xC0 | value >> 6);
    put(0x80 | (value & 0x3F));
  } else if (value < 0x10000) {
    put(0xE0 | value >> 12);
    put(0x80 | (value >> 6 & 0x3F));
    put(0x80 | (value & 0x3F));
  } else {
    put(0xF0 | value >> 18);
    put(0x80 | (value >> 12 & 0x3F));
    put(0x80 | (value >> 6 & 0x3F));
    put(0x80 | (value & 0x3F));
  }
}

std::string shown(std::string_view text) {
  text = text.substr(0, text.find('\0'));
  std::string result;
  while (!text.empty()) {
    const std::int32_t value = take_code_point(text);
    append_code_point(result, value == kNoCodePoint ? 0xFFFD : value);
  }
  return result;
}

}  // namespace sim::qmp
