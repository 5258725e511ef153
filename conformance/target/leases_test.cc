#include "conformance/target/leases.h"

#include <gtest/gtest.h>

#include "conformance/target/labels.h"

namespace conformance {
namespace {

using enum LeaseMode;

TEST(LockManager, SharesWhatAllRead) {
  LockManager locks;
  EXPECT_FALSE(locks.hold("a", {{"/base", shared}, {"/a", exclusive}}));
  EXPECT_FALSE(locks.hold("b", {{"/base", shared}, {"/b", exclusive}}));
  EXPECT_EQ(locks.held_by("a"), (Leases{{"/a", exclusive}, {"/base", shared}}));
  EXPECT_EQ(locks.by_holder().size(), 2U);
}

TEST(LockManager, NamesTheFirstFileAndItsHolder) {
  LockManager locks;
  ASSERT_FALSE(locks.hold("pool", {{"/base", shared}, {"/mid", shared}}));
  ASSERT_FALSE(locks.hold("other", {{"/mid", shared}}));
  EXPECT_EQ(locks.hold("a", {{"/zzz", exclusive}, {"/mid", exclusive}, {"/base", shared}}),
            (LeaseConflict{"/mid", "other"}));
  EXPECT_EQ(locks.held_by("a"), Leases());
}

TEST(LockManager, RefusesAReaderOfWhatIsWritten) {
  LockManager locks;
  ASSERT_FALSE(locks.hold("a", {{"/base", exclusive}}));
  EXPECT_EQ(locks.hold("b", {{"/base", shared}}), (LeaseConflict{"/base", "a"}));
  ASSERT_FALSE(locks.hold("a", {{"/base", shared}}));  // lowered
  EXPECT_FALSE(locks.hold("b", {{"/base", shared}}));
  // Raised again: not any more, and what was held stays.
  EXPECT_EQ(locks.hold("a", {{"/base", exclusive}, {"/a", exclusive}}),
            (LeaseConflict{"/base", "b"}));
  EXPECT_EQ(locks.held_by("a"), (Leases{{"/base", shared}}));
  ASSERT_FALSE(locks.hold("b", {}));
  EXPECT_FALSE(locks.hold("a", {{"/base", exclusive}}));
  EXPECT_FALSE(locks.by_holder().contains("b"));
}

TEST(RememberedLabels, AreEachHoldersOwn) {
  RememberedLabels labels;
  ASSERT_TRUE(labels.set("a", "/base", Label::read_only).ok());
  ASSERT_TRUE(labels.set("b", "/base", Label::read_write).ok());
  ASSERT_TRUE(labels.set("a", "/base", Label::none).ok());
  EXPECT_EQ(labels.set_by("a"), LabelledFiles());
  EXPECT_EQ(labels.set_by("b"), (LabelledFiles{{"/base", Label::read_write}}));
}

}  // namespace
}  // namespace conformance
