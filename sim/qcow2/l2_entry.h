// An entry of an L2 table, and what it says: the rule, once (spec, "L2 table entry", "Extended L2
// Entries").

#pragma once

#include <cstdint>

#include "sim/qcow2/format.h"
#include "sim/qcow2/units.h"

namespace sim::qcow2 {

// As stored.  A standard entry is the word alone; its bitmap is 0.
struct L2Entry {
  std::uint64_t word = 0;
  std::uint64_t bitmap = 0;  // extended entries: bit i allocated, bit 32 + i reads as zeroes
  friend constexpr bool operator==(L2Entry, L2Entry) = default;

  constexpr bool compressed() const { return (word & format::kCompressed) != 0; }
  constexpr bool copied() const { return (word & format::kCopied) != 0; }
  // Of an entry that is not compressed.
  constexpr HostOffset host() const { return {word & format::kOffsetMask}; }
};

// How the entries of one image are to be read.
struct L2Format {
  Geometry geometry;
  bool data_file = false;  // clusters lie in an external data file, where offset 0 is a place
  bool zero_flag = true;   // version 3

  // A subcluster, or the whole cluster where entries are standard.
  enum class Kind : unsigned char { absent, zero, data, compressed };

  // A host cluster is kept for the entry (not for compressed ones).  Offset 0 is a place only in a
  // data file, and only with COPIED.
  constexpr bool placed(L2Entry entry) const {
    if (entry.compressed()) return false;
    return entry.host().value != 0 || (data_file && entry.copied() && !flag_zero(entry));
  }
  // spec, "COPIED": only such a cluster may be written in place.
  constexpr bool in_place(L2Entry entry) const { return placed(entry) && entry.copied(); }

  constexpr Kind kind(L2Entry entry, std::uint64_t subcluster) const {
    if (entry.compressed()) return Kind::compressed;
    if (!geometry.extended_l2)
      return flag_zero(entry) ? Kind::zero : placed(entry) ? Kind::data : Kind::absent;
    if ((entry.bitmap >> (format::kSubclusters + subcluster) & 1) != 0) return Kind::zero;
    return (entry.bitmap >> subcluster & 1) != 0 ? Kind::data : Kind::absent;
  }

 private:
  constexpr bool flag_zero(L2Entry entry) const {
    return !geometry.extended_l2 && (entry.word & format::kZero) != 0;
  }
};

}  // namespace sim::qcow2
