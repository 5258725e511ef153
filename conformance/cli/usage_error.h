// What a command ends with when it cannot do what was asked: a text for stderr and an exit code.

#pragma once

#include <expected>
#include <string>

namespace cli {

// cli.md's exit codes.
inline constexpr int kConforms = 0;
inline constexpr int kDiverges = 1;
inline constexpr int kBadInput = 2;
inline constexpr int kHarnessFailed = 3;

struct Failure {
  int exit_code = kBadInput;
  std::string text;
};

template <class T>
using Expected = std::expected<T, Failure>;

}  // namespace cli
