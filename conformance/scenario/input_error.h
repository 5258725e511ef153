// Bad input of ours: a scenario file that is not right.

#pragma once

#include <expected>
#include <string>

namespace conformance {

struct InputError {
  std::string file;      // path as given
  std::string place;     // JSON pointer ("/steps/3/call"), or "line 4, column 7" for syntax
  std::string expected;  // what should have been there
  std::string cure;      // what to do about it; may be empty
};

// "scenarios/x.json: /steps/3/call: expected …; …"
std::string to_string(const InputError& error);

template <class T>
using InputResult = std::expected<T, InputError>;

}  // namespace conformance
