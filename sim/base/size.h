// Sizes as people write them: "64k", "1M", "3145728", "1.5M" is refused.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sim/base/result.h"

namespace sim {

// Reads decimal digits with an optional suffix b, k, K, M, G, T (powers of 1024).  Nothing when the
// text is anything else or the value does not fit 63 bits.
std::optional<std::uint64_t> parse_size(std::string_view text);

// The same as qemu-img reads a size (measured on 7.2): decimal or 0x digits, a fraction if a suffix
// follows, suffixes b, k, M, G, T, P, E of either case; half a byte is rounded up.  EINVAL for
// anything else, ERANGE for what does not fit 64 bits.
Result<std::uint64_t> parse_qemu_size(std::string_view text);

// The shortest such text for `bytes`: 65536 is "64k", 100 is "100".
std::string format_size(std::uint64_t bytes);

}  // namespace sim
