// What the documents promise of snapshots, of the model: what was seen when one was taken is seen
// after a revert, whatever came between.

#include <gtest/gtest.h>

#include "conformance/model/domain_model.h"

namespace conformance::model {
namespace {

constexpr std::uint64_t kCluster = 65536;

DomainModel over_base() {
  DomainModel model("/d");
  model.add_image({.name = "base", .size = 8 * kCluster});
  model.fill("base", 0, 6 * kCluster, 1);
  model.add_image({.name = "top", .size = 8 * kCluster, .backing = "base"});
  model.add_disk("vda", "top");
  return model;
}

void write_something(DomainModel& model, std::uint8_t pattern) {
  model.guest_write("vda", kCluster + 7, kCluster, pattern);
  model.guest_zero("vda", 3 * kCluster, 2 * kCluster);
}

TEST(Snapshots, AnInternalOneReadsTheSameAfterWritesAndReverts) {
  DomainModel model = over_base();
  write_something(model, 2);
  const View then = model.guest_view("vda");
  ASSERT_TRUE(model.snapshot_create({.name = "s1", .disks = {}}, 0).accepted());
  model.guest_write("vda", 0, 8 * kCluster, 9);
  const View later = model.guest_view("vda");
  ASSERT_NE(later, then);
  ASSERT_TRUE(model.snapshot_create({.name = "s2", .disks = {}}, 0).accepted());
  for (int turn = 0; turn < 2; ++turn) {
    ASSERT_TRUE(model.snapshot_revert("s1", 0).accepted());
    EXPECT_EQ(model.guest_view("vda"), then);
    model.guest_write("vda", 2 * kCluster, kCluster, 7);
    ASSERT_TRUE(model.snapshot_revert("s2", 0).accepted());
    EXPECT_EQ(model.guest_view("vda"), later);
  }
}

// The same calls, and what the guest sees: an external snapshot is read where it was taken over.
TEST(Snapshots, InternalAndExternalOnesKeepTheSame) {
  DomainModel internal = over_base();
  DomainModel external = over_base();
  for (DomainModel* model : {&internal, &external}) {
    write_something(*model, 2);
    const std::uint32_t flags = model == &external ? std::uint32_t{kSnapshotDiskOnly} : 0U;
    ASSERT_TRUE(model->snapshot_create({.name = "s1", .disks = {}}, flags).accepted());
    write_something(*model, 5);
  }
  EXPECT_EQ(internal.guest_view("vda"), external.guest_view("vda"));
  EXPECT_EQ(external.chain("vda").links.front().path, "/d/top.s1");
  const View kept = external.cold_view("top");
  ASSERT_TRUE(internal.snapshot_revert("s1", 0).accepted());
  EXPECT_EQ(internal.guest_view("vda"), kept);
}

// Nothing that the guest sees changes when an external one is deleted.
TEST(Snapshots, DeletingAnExternalOneKeepsTheView) {
  DomainModel model = over_base();
  for (const char* name : {"s1", "s2", "s3"}) {
    ASSERT_TRUE(model.snapshot_create({.name = name, .disks = {}}, kSnapshotDiskOnly).accepted());
    write_something(model, static_cast<std::uint8_t>(name[1]));
  }
  const View seen = model.guest_view("vda");
  for (const char* name : {"s2", "s3", "s1"}) {
    ASSERT_TRUE(model.snapshot_delete(name, 0).accepted()) << name;
    EXPECT_EQ(model.guest_view("vda"), seen) << name;
  }
  EXPECT_EQ(model.chain("vda").links.front().path, "/d/top");
}

}  // namespace
}  // namespace conformance::model
