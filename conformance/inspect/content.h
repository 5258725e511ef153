// What an Inspector keeps of one layer's bytes: runs of equal ones.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "conformance/inspect/image.h"
#include "conformance/target/files.h"
#include "sim/base/result.h"

namespace conformance::inspect {

// A maximal range of one layer's bytes that are all the same.
struct ContentRun {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  Kind kind = Kind::absent;
  std::optional<std::uint8_t> pattern;  // data: the value of every byte; nothing if they differ.
                                        // zero: 0.  absent: nothing
  std::uint32_t mixed_at = 0;           // data without a pattern: where its bytes start in `mixed`
  friend bool operator==(const ContentRun&, const ContentRun&) = default;
};

// One layer's own bytes.  Bytes that differ are split into runs of equal ones; only a sector with
// more than 16 such runs is kept as it is, in `mixed`.
struct Content {
  std::vector<ContentRun> runs;  // covers [0, virtual_size), ascending
  std::vector<std::byte> mixed;
};

// Appends `length` bytes of one kind, none of them data.
void append_hole(Content& content, std::uint64_t length, Kind kind);
// Appends data bytes.  With `zero_is_hole`, ranges of zero bytes become `zero` (raw files).
void append_data(Content& content, sim::Bytes bytes, bool zero_is_hole);
// Appends `length` data bytes read from the file, in pieces.
sim::Result<> append_file(Content& content, const Files& files, const std::string& path,
                          std::uint64_t offset, std::uint64_t length, bool zero_is_hole);

// The kinds alone, as maximal runs.
std::vector<Run> kinds_of(const Content& content);

}  // namespace conformance::inspect
