// Bytes, byte order and arithmetic that cannot wrap unnoticed.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace sim {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

constexpr std::uint64_t operator""_KiB(unsigned long long n) { return n << 10; }
constexpr std::uint64_t operator""_MiB(unsigned long long n) { return n << 20; }
constexpr std::uint64_t operator""_GiB(unsigned long long n) { return n << 30; }

// Big-endian load and store of sizeof(T) bytes at `at` of `bytes`; the caller guarantees the room.
template <class T>
constexpr T load_be(Bytes bytes, std::size_t at) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value = static_cast<T>((static_cast<std::uint64_t>(value) << 8) |
                           std::to_integer<std::uint64_t>(bytes[at + i]));
  return value;
}
template <class T>
constexpr void store_be(MutableBytes bytes, std::size_t at, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i)
    bytes[at + i] =
        static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * (sizeof(T) - 1 - i)));
}

// `unit` is a power of two in all of these.
constexpr bool is_power_of_two(std::uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }
constexpr std::uint64_t align_down(std::uint64_t n, std::uint64_t unit) { return n & ~(unit - 1); }
constexpr std::uint64_t align_up(std::uint64_t n, std::uint64_t unit) {
  return align_down(n + unit - 1, unit);
}
constexpr bool is_aligned(std::uint64_t n, std::uint64_t unit) { return (n & (unit - 1)) == 0; }
constexpr std::uint64_t div_up(std::uint64_t n, std::uint64_t d) { return n / d + (n % d != 0); }

// The sum or product, or nothing if it does not fit 64 bits.
constexpr std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}
constexpr std::optional<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// True if every byte is zero.
bool all_zero(Bytes bytes);

}  // namespace sim
