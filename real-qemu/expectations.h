// Divergences that are expected of one exact version of QEMU, each with its reason and source.
//
// They live with the version and not with the scenario.  One that no longer shows is an error, so
// that the files stay true.

#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace real_qemu {

struct Expectation {
  std::string scenario;          // an id, or a group: "matrix/block-copy/*"
  std::string divergence_class;  // "data", "chain", … as reports spell it
  std::string because;           // one sentence
  std::string source;            // where that was seen or is written
  std::string place;             // "FILE: /3", for messages
  friend bool operator==(const Expectation&, const Expectation&) = default;
};

// What is wrong with an expectations file.
struct ExpectationError {
  std::string file;
  std::string place;  // JSON pointer, or "" for the whole file
  std::string expected;
  std::string cure;
};
std::string to_string(const ExpectationError& error);

using Expectations = std::expected<std::vector<Expectation>, ExpectationError>;

// Reads DIRECTORY/VERSION.json ("7.2.22"); a version without a file has no expectations.
Expectations load_expectations(const std::string& directory, const std::string& version);

// Reads a file's text; `file` is used in messages only.
Expectations parse_expectations(std::string_view text, const std::string& file);

// True if the expectation speaks of this scenario.
bool covers(const Expectation& expectation, std::string_view scenario);

// The first that speaks of this scenario and class, or null.
const Expectation* find_expectation(const std::vector<Expectation>& expectations,
                                    std::string_view scenario, std::string_view divergence_class);

}  // namespace real_qemu
