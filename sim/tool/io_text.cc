#include "sim/tool/io_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace sim::tool {

static constexpr std::uint64_t kRequestsASecond = 1000;

std::string io_size(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 6> kUnits = {"EiB", "PiB", "TiB", "GiB", "MiB", "KiB"};
  unsigned shift = 60;
  for (const std::string_view unit : kUnits) {
    const std::uint64_t whole = bytes >> shift;
    const std::uint64_t rest = bytes & ((std::uint64_t{1} << shift) - 1);
    if (whole > 0 && rest == 0) return fmt::format("{} {}", whole, unit);
    if (whole >
        0) {  // thousandths, rounded as printf does; of exabytes 50 bits are enough for them
      const unsigned bits = std::min(shift, 50U);
      const std::uint64_t exact = (rest >> (shift - bits)) * 1000;
      std::uint64_t thousandths = exact >> bits;
      const std::uint64_t over = exact & ((1ULL << bits) - 1);
      const std::uint64_t half = 1ULL << (bits - 1);
      if (over > half || (over == half && thousandths % 2 != 0)) ++thousandths;
      return fmt::format("{}.{:03} {}", whole + thousandths / 1000, thousandths % 1000, unit);
    }
    shift -= 10;
  }
  return fmt::format("{} bytes", bytes);
}

std::string io_report(std::string_view verb, std::uint64_t offset, std::uint64_t length) {
  return fmt::format(
      "{} {}/{} bytes at offset {}\n{}, 1 ops; 00.00 sec ({}/sec and {}.0000 ops/sec)\n", verb,
      length, length, offset, io_size(length), io_size(length * kRequestsASecond),
      kRequestsASecond);
}

std::string io_report_fields(std::uint64_t length) {
  return fmt::format("{},1,0:00:00.00,{}.000,{}.000\n", length, length * kRequestsASecond,
                     kRequestsASecond);
}

std::string io_dump(std::uint64_t offset, Bytes bytes) {
  constexpr std::uint64_t kLine = 16;
  std::string text;
  for (std::uint64_t at = 0; at < bytes.size(); at += kLine) {
    const Bytes line = bytes.subspan(at, std::min<std::uint64_t>(kLine, bytes.size() - at));
    text += fmt::format("{:08x}:  ", offset + at);
    for (const std::byte byte : line) text += fmt::format("{:02x} ", std::to_integer<int>(byte));
    text += ' ';
    for (const std::byte byte : line) {
      const char c = static_cast<char>(byte);
      const bool shown = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      text += shown ? c : '.';
    }
    text += '\n';
  }
  return text;
}

}  // namespace sim::tool
