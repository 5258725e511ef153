#include "conformance/scenario/input_error.h"

#include <fmt/format.h>

#include "conformance/scenario/first_error.h"

namespace conformance {

std::string to_string(const InputError& error) {
  std::string text = error.file;
  if (!error.place.empty()) text += fmt::format(": {}", error.place);
  text += fmt::format(": expected {}", error.expected);
  if (!error.cure.empty()) text += fmt::format("; {}", error.cure);
  return text;
}

std::string member(const std::string& place, std::string_view key) {
  std::string pointer = place + "/";
  for (const char c : key) {
    if (c == '~')
      pointer += "~0";
    else if (c == '/')
      pointer += "~1";
    else
      pointer += c;
  }
  return pointer;
}

std::string element(const std::string& place, std::size_t index) {
  return fmt::format("{}/{}", place, index);
}

}  // namespace conformance
