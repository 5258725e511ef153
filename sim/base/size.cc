#include "sim/base/size.h"

#include <cctype>
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

namespace {

// 2^64ths: what stands behind a point, from as many digits as matter.
std::uint64_t read_fraction(std::string_view digits) {
  __extension__ using Wide = unsigned __int128;
  std::uint64_t value = 0, scale = 1;
  for (const char digit : digits.substr(0, 18)) {
    value = value * 10 + static_cast<std::uint64_t>(digit - '0');
    scale *= 10;
  }
  return static_cast<std::uint64_t>((Wide{value} << 64) / scale);
}

// The power of two that a suffix stands for; nothing if it is none.
std::optional<unsigned> shift_of(char suffix) {
  constexpr std::string_view kSuffixes = "BKMGTPE";
  const auto found =
      kSuffixes.find(static_cast<char>(std::toupper(static_cast<unsigned char>(suffix))));
  if (found == std::string_view::npos) return std::nullopt;
  return static_cast<unsigned>(found) * 10;
}

}  // namespace

Result<std::uint64_t> parse_qemu_size(std::string_view text) {
  __extension__ using Wide = unsigned __int128;
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0)
    text.remove_prefix(1);
  if (text.starts_with('+')) text.remove_prefix(1);
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  if (hex) text.remove_prefix(2);
  std::uint64_t value = 0;
  const auto [rest, status] =
      std::from_chars(text.data(), text.data() + text.size(), value, hex ? 16 : 10);
  if (status == std::errc::invalid_argument) return os_error(EINVAL);
  text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
  std::uint64_t fraction = 0;
  if (text.starts_with('.')) {
    if (hex) return os_error(EINVAL);
    text.remove_prefix(1);
    const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    fraction = read_fraction(text.substr(0, digits));
    text.remove_prefix(digits);
  }
  unsigned shift = 0;
  if (!text.empty()) {
    const auto found = shift_of(text.front());
    if (!found || text.size() > 1) return os_error(EINVAL);
    shift = *found;
  }
  if (shift == 0 && fraction != 0) return os_error(EINVAL);
  if (status == std::errc::result_out_of_range) return os_error(ERANGE);
  const Wide scaled = (Wide{fraction} << shift) + (Wide{1} << 63);  // rounded: half a byte up
  const Wide bytes = (Wide{value} << shift) + (shift == 0 ? 0 : scaled >> 64);
  if (bytes > UINT64_MAX) return os_error(ERANGE);
  return static_cast<std::uint64_t>(bytes);
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
