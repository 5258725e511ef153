#include <gtest/gtest.h>

#include <array>

#include "sim/base/bytes.h"
#include "sim/base/check.h"
#include "sim/base/result.h"
#include "sim/base/size.h"
#include "sim/base/text.h"

namespace sim {
namespace {

Result<int> half(int n) {
  if (n % 2 != 0) return os_error(EINVAL, "odd");
  return n / 2;
}
Result<int> quarter(int n) {
  TRY(const int h, half(n));
  TRY(const int q, half(h));
  return q;
}

TEST(Result, PropagatesValueAndError) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).error().desc, "odd: Invalid argument");
  EXPECT_EQ(quarter(6).error().number, EINVAL);
}

TEST(Bytes, BigEndianRoundTrip) {
  std::array<std::byte, 12> buffer{};
  store_be<std::uint32_t>(buffer, 1, 0x01020304);
  EXPECT_EQ(buffer[1], std::byte{1});
  EXPECT_EQ(buffer[4], std::byte{4});
  EXPECT_EQ(load_be<std::uint32_t>(buffer, 1), 0x01020304U);
  store_be<std::uint64_t>(buffer, 2, 0x8000000000050000U);
  EXPECT_EQ(load_be<std::uint64_t>(buffer, 2), 0x8000000000050000U);
}

TEST(Bytes, ArithmeticDoesNotWrap) {
  EXPECT_FALSE(checked_add(UINT64_MAX, 1));
  EXPECT_FALSE(checked_mul(UINT64_MAX / 2, 3));
  EXPECT_EQ(div_up(UINT64_MAX, 2), UINT64_MAX / 2 + 1);
  EXPECT_EQ(align_up(65537, 65536), 131072U);
}

TEST(Bytes, AllZero) {
  std::array<std::byte, 9> buffer{};
  EXPECT_TRUE(all_zero(buffer));
  buffer[8] = std::byte{1};
  EXPECT_FALSE(all_zero(buffer));
}

TEST(Size, ReadsAndWritesSuffixes) {
  EXPECT_EQ(parse_size("64k"), 65536U);
  EXPECT_EQ(parse_size("1M"), 1048576U);
  EXPECT_FALSE(parse_size("1.5M"));
  EXPECT_FALSE(parse_size("99999999999999T"));
  EXPECT_FALSE(parse_size("-1"));
  EXPECT_FALSE(parse_size(""));
  EXPECT_EQ(format_size(1536_KiB), "1536k");
  EXPECT_EQ(format_size(0), "0");
}

TEST(Text, IdsAreWellFormedAsQemuHasIt) {  // measured on 7.2 with blockdev-add
  for (const char* good : {"a", "a.b", "a_b-c", "virtio-disk0"})
    EXPECT_TRUE(is_well_formed_id(good));
  for (const char* bad : {"", "1bad", "-x", "a b", "#x", "a/b", "\xc3\xa9"})
    EXPECT_FALSE(is_well_formed_id(bad)) << bad;
}

TEST(Text, ListedValues) {
  EXPECT_TRUE(is_listed("full|top|none", "none"));
  EXPECT_FALSE(is_listed("full|top|none", "to"));
  EXPECT_FALSE(is_listed("", ""));
}

TEST(Text, ReplacesEveryOccurrence) {
  EXPECT_EQ(replace_all("/d/a and /d/b", "/d", "${dir}"), "${dir}/a and ${dir}/b");
  EXPECT_EQ(replace_all("aa", "a", "aa"), "aaaa");
  EXPECT_EQ(replace_all("text", "", "x"), "text");
}

TEST(CheckDeathTest, PrintsItsContext) {
  const CheckContext context([](const void*) { return std::string("seed 42"); }, nullptr);
  EXPECT_DEATH(CHECK(1 + 1 == 3, "arithmetic"), "1 \\+ 1 == 3 \\(arithmetic\\)\nseed 42");
}

}  // namespace
}  // namespace sim
