// What is wrong with a file is told once: the first thing that is.  Readers go on with a default
// after an error, so that their code reads as the description of the file that it is.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "conformance/scenario/input_error.h"

namespace conformance {

class FirstError {
 public:
  explicit FirstError(std::string file) : file_(std::move(file)) {}

  // Keeps the error if it is the first.
  void report(std::string place, std::string expected, std::string cure = {}) {
    if (!error_) error_ = InputError{file_, std::move(place), std::move(expected), std::move(cure)};
  }
  void report(InputError error) {
    if (!error_) error_ = std::move(error);
  }

  explicit operator bool() const { return error_.has_value(); }
  const InputError& error() const { return *error_; }
  std::unexpected<InputError> unexpected() const { return std::unexpected(*error_); }
  const std::string& file() const { return file_; }

 private:
  std::string file_;
  std::optional<InputError> error_;
};

// The JSON pointer (RFC 6901) of a member or element of what is at `place`.
std::string member(const std::string& place, std::string_view key);
std::string element(const std::string& place, std::size_t index);

}  // namespace conformance
