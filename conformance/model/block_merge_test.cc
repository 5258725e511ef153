// What pulls and commits leave that are given up, or have nothing to do: measured on QEMU 5.2 to
// 11.1 (scenarios domain/block-commit-aborted and domain/pull-of-nothing).

#include <gtest/gtest.h>

#include <algorithm>

#include "conformance/model/domain_model.h"
#include "sim/base/bytes.h"

namespace conformance::model {
namespace {

using sim::operator""_KiB;
using sim::operator""_MiB;

FileExpectation file(const DomainModel& model, const std::string& name) {
  const std::vector<FileExpectation> all = model.files();
  return *std::ranges::find(all, name, &FileExpectation::name);
}

// The first part that is written fills up a cluster of the base; what is to be written to the rest
// of it comes later, or not at all.
TEST(AbortedCommit, MayHaveFilledUpAClusterOfTheBase) {
  DomainModel model("/d");
  model.add_image({.name = "base", .size = 1_MiB});
  model.fill("base", 1000_KiB, 24_KiB, 1);
  model.add_image({.name = "top", .size = 1536_KiB, .cluster_size = 4096, .backing = "base"});
  model.fill("top", 100_KiB, 4_KiB, 2);
  model.fill("top", 112_KiB, 4_KiB, 3);
  model.add_image({.name = "active", .size = 1536_KiB, .backing = "top"});
  model.add_disk("vda", "active");
  ASSERT_TRUE(model.block_commit("vda", "/d/base", "/d/top", 1, kCommitBandwidthBytes).accepted());
  ASSERT_TRUE(model.block_job_abort("vda", 0).accepted());
  const Layer base = file(model, "base").layer;
  EXPECT_EQ(base.at(100_KiB).text(), "absent or data 0x00 or data 0x02");
  EXPECT_EQ(base.at(112_KiB).text(), "absent or data 0x00 or data 0x03");
  EXPECT_EQ(base.at(127_KiB).text(), "absent or data 0x00");
  EXPECT_EQ(base.at(128_KiB).text(), "absent") << "the next cluster is not touched";
  EXPECT_EQ(text(model.guest_view("vda")), "0*100k 2*4k 0*8k 3*4k 0*884k 1*24k 0*512k");
}

// Nothing is beneath the disk, though the header of its image names something.
TEST(PullOfNothing, LeavesTheHeaderAsItIs) {
  DomainModel model("/d");
  model.add_image({.name = "top", .size = 1_MiB});
  model.add_image({.name = "under", .size = 1_MiB});
  model.add_image({.name = "copy", .size = 1_MiB, .backing = "under"});
  model.add_disk("vda", "top");
  ASSERT_TRUE(model.block_rebase("vda", "/d/copy", 0, kCopy | kReuseExt).accepted());
  model.on_ready("vda");
  ASSERT_TRUE(model.block_job_abort("vda", kPivot).accepted());
  ASSERT_TRUE(model.block_pull("vda", 0, 0).accepted());
  model.on_completed("vda");
  EXPECT_EQ(file(model, "copy").backing_string, "/d/under");
  EXPECT_EQ(file(model, "copy").backing_format, "qcow2");
  EXPECT_EQ(model.chain("vda").links.size(), 1U);
}

}  // namespace
}  // namespace conformance::model
