// What happened, as one number that two runs can be compared by, and the last lines for a person.

#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace sim {

struct Instant;

class Trace {
 public:
  // Records one happening.  `what` must be a string literal; `detail` is hashed whole but kept only
  // in part.
  void record(std::uint64_t at_ns, const char* what, std::string_view detail);
  void record(std::uint64_t at_ns, const char* what, std::uint64_t a, std::uint64_t b);

  // Depends on every record so far, their order and their times.
  std::uint64_t hash() const { return hash_; }

  // The last records, oldest first, one per line.
  std::string last_lines() const;

 private:
  struct Record {
    std::uint64_t at_ns = 0;
    const char* what = nullptr;
    std::uint64_t a = 0, b = 0;
    std::string detail;
  };
  void mix(std::uint64_t value) { hash_ = (hash_ ^ value) * 0x9e3779b97f4a7c15U ^ (hash_ >> 29); }
  Record& next(std::uint64_t at_ns, const char* what);

  std::uint64_t hash_ = 0xcbf29ce484222325U;
  std::uint64_t count_ = 0;
  std::array<Record, 32> last_;
};

}  // namespace sim
