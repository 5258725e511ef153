// What one image file says of itself: format, header, own allocation, and whether its metadata
// adds up.  Independent of everything in sim/: written from the format's description alone
// (sim/qcow2/format.md has it too), small and slow where that is clearer, and reading only what is
// allocated.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace conformance::inspect {

// The state of a place in one layer, without regard to what is below it.
enum class Kind : std::uint8_t {
  absent,  // not allocated: the backing file shows, or zeroes
  zero,    // reads as zeroes, the backing file is not consulted (plain or preallocated)
  data,
};
constexpr const char* name_of(Kind kind) {
  return kind == Kind::absent ? "absent" : kind == Kind::zero ? "zero" : "data";
}

// A maximal range of one kind; offset and length in guest bytes.
struct Run {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  Kind kind = Kind::absent;
  friend bool operator==(const Run&, const Run&) = default;
};

// A full recount of references, as `qemu-img check` makes it; the numbers are the same as its
// "corruptions" and "leaks" where qemu-img has one finding for one defect.
struct CheckResult {
  std::uint64_t corruptions = 0;
  std::uint64_t leaks = 0;
  std::vector<std::string> details;  // one line each, at most 20 of them
  bool clean() const { return corruptions == 0 && leaks == 0; }
};

struct ImageReport {
  std::string format;              // "raw" or "qcow2"
  std::uint64_t virtual_size = 0;  // raw: the file's length
  std::uint64_t cluster_size = 0;  // raw: 0
  int version = 0;                 // qcow2: 2 or 3; raw: 0
  std::string backing_file;        // as the header has it; empty if there is none
  std::string backing_format;      // as the header has it; empty if it does not say
  bool encrypted = false;          // the data, with LUKS
  std::vector<Run> own;            // covers [0, virtual_size), ascending.  A raw file is data where
                                   // a byte is not zero and zero elsewhere: holes are not told
  CheckResult check;               // raw: always clean
};

}  // namespace conformance::inspect
