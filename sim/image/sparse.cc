// What of a buffer need not be stored.

#include <algorithm>
#include <cstring>

#include "sim/image/copy.h"
#include "sim/qcow2/format.h"

namespace sim::image {

using qcow2::format::kSector;

// Data differs from zero early, as a rule; the rest is for the vector unit.
static bool sector_is_zero(const std::byte* sector) {
  std::uint64_t word = 0;
  std::memcpy(&word, sector, sizeof(word));
  if (word != 0) return false;
  std::uint64_t any = 0;
  for (std::uint64_t at = 0; at < kSector; at += sizeof(word)) {
    std::memcpy(&word, sector + at, sizeof(word));
    any |= word;
  }
  return any == 0;
}

// The leading sectors that are all zero, or all not; then moved to a multiple of `unit`: what is
// stored grows, what is not shrinks.
static Stretch leading_run(Bytes data, std::uint64_t at, std::uint64_t unit) {
  const bool zero = sector_is_zero(data.data());
  std::uint64_t length = kSector;
  while (length < data.size() && sector_is_zero(data.data() + length) == zero) length += kSector;
  if (length >= data.size()) return {data.size(), !zero};
  const std::uint64_t over = (at + length) % unit;
  if (over == 0) return {length, !zero};
  if (zero && length > over) return {length - over, false};
  return {std::min(length + unit - over, data.size()), true};
}

// Where the last sector starts of those that one after the other, `sparse` apart, are not all zero,
// the first at `from`: so many zeroes in a row are nowhere before it.
static std::uint64_t last_of_data(Bytes data, std::uint64_t from, std::uint64_t sparse) {
  constexpr std::uint64_t kAhead = 16;  // so far apart, no processor would guess the next
  while (from + sparse < data.size() && !sector_is_zero(data.data() + from + sparse)) {
    from += sparse;
    if (from + kAhead * sparse < data.size())
      __builtin_prefetch(data.data() + from + kAhead * sparse);
  }
  return from;
}

Stretch leading_stretch(Bytes data, std::uint64_t at, std::uint64_t sparse, std::uint64_t unit) {
  sparse = std::min(sparse, data.size());
  std::uint64_t stored = 0;
  for (std::uint64_t seen = 0; seen < data.size();) {
    const bool zero = sector_is_zero(data.data() + seen);
    const std::uint64_t start = zero ? seen : last_of_data(data, seen, sparse);
    const Stretch next = leading_run(data.subspan(start), at + start, unit);
    if (seen == 0 && !next.stored) return next;
    seen = start + next.length;
    if (next.stored)
      stored = seen;
    else if (next.length >= sparse)
      break;
  }
  return {stored, true};
}

}  // namespace sim::image
