#include "sim/base/size.h"

#include <charconv>

#include "sim/base/bytes.h"

namespace sim {

std::optional<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t value = 0;
  const auto [rest, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc{}) return std::nullopt;
  const std::string_view suffix(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
  unsigned shift = 0;
  if (suffix.size() > 1) return std::nullopt;
  if (suffix.size() == 1) {
    switch (suffix.front()) {
      case 'b':
        shift = 0;
        break;
      case 'k':
      case 'K':
        shift = 10;
        break;
      case 'M':
        shift = 20;
        break;
      case 'G':
        shift = 30;
        break;
      case 'T':
        shift = 40;
        break;
      default:
        return std::nullopt;
    }
  }
  const auto bytes = checked_mul(value, std::uint64_t{1} << shift);
  if (!bytes || *bytes > INT64_MAX) return std::nullopt;
  return bytes;
}

std::string format_size(std::uint64_t bytes) {
  constexpr char kSuffixes[] = {'T', 'G', 'M', 'k'};
  unsigned shift = 40;
  for (const char suffix : kSuffixes) {
    const std::uint64_t unit = std::uint64_t{1} << shift;
    if (bytes != 0 && bytes % unit == 0) return std::to_string(bytes / unit) + suffix;
    shift -= 10;
  }
  return std::to_string(bytes);
}

}  // namespace sim
