// The content of one place of one layer, as far as it is certain.
//
// A Cell is a set: everything that this place may legally be.  Mostly it has one element, such as
// "Data, every byte 0x31".  It has more where a release may choose (a zeroed range that is a zero
// cluster on one and an allocated cluster of zeroes on another) and where a job was ended in the
// middle (old content, or content of the source at some moment).

#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <string>

namespace conformance::model {

enum class Kind : std::uint8_t { absent, zero, data };

// The byte values that a guest may read at a place.
using Values = std::bitset<256>;
inline Values value(std::uint8_t byte) { return Values().set(byte); }

struct Cell {
  bool absent = false;  // may be not allocated: what is below shows
  bool zero = false;    // may be a zero cluster (or, in a raw file, a hole)
  Values data;          // may be allocated, with all bytes of a run equal to one of these
  // Of data zeroes: nobody wrote them, copy on write filled up with them, so that the image's own
  // file may have a hole there.
  bool hole = false;

  static Cell Absent() { return {.absent = true, .zero = false, .data = {}}; }
  static Cell Zero() { return {.absent = false, .zero = true, .data = {}}; }
  static Cell Data(std::uint8_t byte) {
    return {.absent = false, .zero = false, .data = value(byte)};
  }
  static Cell DataOf(Values bytes) { return {.absent = false, .zero = false, .data = bytes}; }
  // Zeroes, allocated or not: what a raw file and some releases leave open.
  static Cell AnyZero() { return {.absent = false, .zero = true, .data = value(0)}; }

  // May this place be `kind`, with every byte `byte` (of kind data)?
  bool allows(Kind kind, std::uint8_t byte) const;
  // The only kind it may be, if there is one.
  std::optional<Kind> kind() const;
  bool certain() const;  // exactly one possibility
  // "absent", "zero", "data 0x31", "data 0x31 or data 0x39".
  std::string text() const;

  friend bool operator==(const Cell&, const Cell&) = default;
};

// Everything that either may be.
Cell either(const Cell& left, const Cell& right);

// What is read where the layer is `cell` and `below` shows through it.
Values values_of(const Cell& cell, const Values& below);

// The one value, if there is only one.
std::optional<std::uint8_t> only(const Values& values);
std::string text(const Values& values);

}  // namespace conformance::model
