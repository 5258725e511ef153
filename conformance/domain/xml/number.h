// Numbers as libvirt reads them (virStrToLong_uip, virStrToLong_ullp).

#pragma once

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

namespace conformance::xml {

// A decimal number: white space and one '+' may come before it, nothing after it, and no '-'.
template <class T>
std::optional<T> number(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n\v\f"), text.size()));
  if (text.starts_with('+')) text.remove_prefix(1);
  T value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end || text.starts_with('-')) return std::nullopt;
  return value;
}

}  // namespace conformance::xml
