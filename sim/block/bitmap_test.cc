#include "sim/block/bitmap.h"

#include <gtest/gtest.h>

namespace sim::block {
namespace {

TEST(DirtyBitmap, BeginsClean) {
  const DirtyBitmap bitmap("b", 1_MiB, 64_KiB);
  EXPECT_EQ(bitmap.count(), 0U);
  EXPECT_FALSE(bitmap.next_dirty(0));
  EXPECT_TRUE(bitmap.is_recording());
}

// QEMU: a write of one byte dirties the whole granule, one across a border both.
TEST(DirtyBitmap, MarksEveryGranuleThatIsTouched) {
  DirtyBitmap bitmap("b", 1_MiB, 64_KiB);
  bitmap.set(64_KiB - 1, 2);
  EXPECT_EQ(bitmap.count(), 128_KiB);
  EXPECT_TRUE(bitmap.is_dirty(0));
  EXPECT_TRUE(bitmap.is_dirty(128_KiB - 1));
  EXPECT_FALSE(bitmap.is_dirty(128_KiB));
  bitmap.set(64_KiB, 0);
  bitmap.set(64_KiB, 64_KiB);  // again
  EXPECT_EQ(bitmap.count(), 128_KiB);
  bitmap.reset(0, 64_KiB);
  EXPECT_EQ(bitmap.count(), 64_KiB);
  EXPECT_EQ(bitmap.next_dirty(0), 64_KiB);
}

TEST(DirtyBitmap, FindsTheNext) {
  DirtyBitmap bitmap("b", 1_MiB, 64_KiB);
  bitmap.set(192_KiB, 64_KiB);
  bitmap.set(512_KiB, 128_KiB);
  EXPECT_EQ(bitmap.next_dirty(0), 192_KiB);
  EXPECT_EQ(bitmap.next_dirty(192_KiB + 5), 192_KiB);
  EXPECT_EQ(bitmap.next_dirty(256_KiB), 512_KiB);
  EXPECT_FALSE(bitmap.next_dirty(640_KiB));
}

// query-block counts the last granule only as far as the node goes.
TEST(DirtyBitmap, TheLastGranuleMayBeShort) {
  DirtyBitmap bitmap("b", 100_KiB, 64_KiB);
  bitmap.set(0, 100_KiB);
  EXPECT_EQ(bitmap.count(), 100_KiB);
  bitmap.reset(0, 64_KiB);
  EXPECT_EQ(bitmap.count(), 36_KiB);
}

TEST(DirtyBitmap, IgnoresWhatIsBeyondTheEnd) {
  DirtyBitmap bitmap("b", 100_KiB, 64_KiB);
  bitmap.set(100_KiB, 64_KiB);
  EXPECT_EQ(bitmap.count(), 0U);
  bitmap.set(96_KiB, 1_MiB);
  EXPECT_EQ(bitmap.count(), 36_KiB);
  DirtyBitmap whole("w", 128_KiB, 64_KiB);
  whole.set(64_KiB, 1_MiB);
  EXPECT_EQ(whole.count(), 64_KiB);
}

TEST(DirtyBitmap, AGranuleMayBeLargerThanTheNode) {
  DirtyBitmap bitmap("b", 1_MiB, 64_MiB);
  bitmap.set(5, 1);
  EXPECT_EQ(bitmap.count(), 1_MiB);
}

}  // namespace
}  // namespace sim::block
