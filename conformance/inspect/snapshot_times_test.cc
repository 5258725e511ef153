// On tables that qemu-img writes.

#include "conformance/inspect/snapshot_times.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conformance/inspect/directory_for_test.h"
#include "conformance/inspect/inspector.h"

namespace conformance::inspect {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(SnapshotTimes, AreAllThatDiffersOfTheSameSnapshotsMadeLater) {
  TestDirectory directory;
  const std::string one = directory / "one", other = directory / "other";
  for (const std::string& file : {one, other}) {
    ASSERT_EQ(run("qemu-img create -q -f qcow2 " + file + " 1M").status, 0);
    for (const char* name : {"a", "longer-name", "c"})
      ASSERT_EQ(run(std::string("qemu-img snapshot -c ") + name + " " + file).status, 0);
  }
  const auto left = snapshot_times(directory, one), right = snapshot_times(directory, other);
  ASSERT_TRUE(left && right);
  EXPECT_THAT(*left, SizeIs(3));
  EXPECT_NE(*digest(directory, one), *digest(directory, other));
  EXPECT_EQ(*digest(directory, one, *left), *digest(directory, other, *right));
}

TEST(SnapshotTimes, AreNoneWithoutSnapshots) {
  TestDirectory directory;
  const std::string image = directory / "image", raw = directory / "raw";
  ASSERT_EQ(run("qemu-img create -q -f qcow2 " + image + " 1M").status, 0);
  ASSERT_TRUE(directory.create(raw, 7));
  EXPECT_THAT(*snapshot_times(directory, image), IsEmpty());
  EXPECT_THAT(*snapshot_times(directory, raw), IsEmpty());
}

}  // namespace
}  // namespace conformance::inspect
