// The granule rule.  Values: docs/model.md 1.4 (measured on 7.2, 10.0 and 11.1) where a test
// says so, else measured on QEMU 7.2.22 with blockdev-mirror.

#include "conformance/model/mirror.h"

#include <gtest/gtest.h>
#include "sim/base/bytes.h"

namespace conformance::model {
namespace {

using sim::operator""_KiB;
using sim::operator""_MiB;

std::string own(const Layer& layer) {
  std::string text;
  for (const CellRun& run : layer.runs())
    text +=
        (text.empty() ? "" : " ") + run.cell.text() + "*" + std::to_string(run.length / 1024) + "k";
  return text;
}

Layer full_of(Format format, std::uint64_t size, std::uint8_t byte, std::uint64_t cluster = 65536) {
  Layer layer(format, size, cluster);
  write(layer, {}, 0, size, byte);
  return layer;
}

// The destination after a whole, undisturbed copy.
Layer copied(const MirrorOptions& options, const LayerChain& source, const Layer& destination,
             const LayerChain& attached = {}) {
  MirrorRun run(options, source, destination, attached);
  run.synced(source, attached);
  return run.destination();
}

TEST(Granularity, DefaultsToTheDestinationsCluster) {
  EXPECT_EQ(default_granularity(Layer(Format::qcow2, 0, 512)), 4096U);
  EXPECT_EQ(default_granularity(Layer(Format::qcow2, 0, 16384)), 16384U);
  EXPECT_EQ(default_granularity(Layer(Format::qcow2, 0, 2_MiB)), 65536U);
  EXPECT_EQ(default_granularity(Layer(Format::raw, 0)), 65536U);
}

// docs/model.md 1.4: a top cluster of 4 KiB with '2' at 1 MiB over a base of '1', onto a raw
// destination full of '7'.
class Granule : public ::testing::Test {
 protected:
  Granule() { write(top_, {&base_}, 1_MiB, 4_KiB, 2); }
  std::string copy(std::uint64_t granularity, const Layer& destination, bool header = false) {
    const Layer done =
        copied({.sync = Sync::top, .granularity = granularity, .header_backing = header},
               {&top_, &base_}, destination);
    return text(view({&done}));
  }
  Layer base_ = full_of(Format::qcow2, 4_MiB, 1, 4096);
  Layer top_ = Layer(Format::qcow2, 4_MiB, 4096);
};

TEST_F(Granule, IsCopiedWholeByTheView) {
  const Layer raw = full_of(Format::raw, 4_MiB, 7);
  EXPECT_EQ(copy(0, raw), "7*1M 2*4k 1*60k 7*3008k");
  EXPECT_EQ(copy(4096, raw), "7*1M 2*4k 7*3068k");
  EXPECT_EQ(copy(1_MiB, raw), "7*1M 2*4k 1*1020k 7*2M");
}

// docs/model.md 1.4: a destination of 64 KiB clusters over a wrong backing of '8' that is
// attached during the job.
TEST_F(Granule, SmallerThanTheDestinationsClusterIsCompletedFromTheAttachedBacking) {
  const Layer wrong = full_of(Format::qcow2, 4_MiB, 8);
  const Layer empty(Format::qcow2, 4_MiB);
  for (const auto& [granularity, expected] :
       {std::pair{std::uint64_t{4096}, "8*1M 2*4k 8*3068k"},
        std::pair{std::uint64_t{0}, "8*1M 2*4k 1*60k 8*3008k"}}) {
    const Layer done =
        copied({.sync = Sync::top, .granularity = granularity, .header_backing = true},
               {&top_, &base_}, empty, {&wrong});
    EXPECT_EQ(text(view({&done, &wrong})), expected);
  }
}

// Measured, 7.2: with a backing name in the header but none attached, whole destination clusters
// are read from the source; without a name the rest of the cluster is zeroes.
TEST_F(Granule, SmallerThanTheDestinationsClusterIsWidenedIfTheHeaderNamesABacking) {
  const Layer empty(Format::qcow2, 4_MiB, 131072);
  EXPECT_EQ(copy(0, empty, true), "0*1M 2*4k 1*124k 0*2944k");
  EXPECT_EQ(copy(0, empty, false), "0*1M 2*4k 1*60k 0*3008k");
}

// docs/model.md 1.4: own state for a source of (Data, Zero, Data of zeroes, Absent).
class States : public ::testing::Test {
 protected:
  States() {
    write(source_, {}, 0, 64_KiB, 1);
    write_zeroes(source_, {}, 64_KiB, 64_KiB);
    write(source_, {}, 128_KiB, 64_KiB, 0);
  }
  Layer source_ = Layer(Format::qcow2, 256_KiB);
};

TEST_F(States, FullOntoAnEmptyImageMayLeaveZeroesAbsent) {  // 7.2: D Z D Z, 11.1: D A D A
  EXPECT_EQ(own(copied({.sync = Sync::full}, {&source_}, Layer(Format::qcow2, 256_KiB))),
            "data 0x01*64k absent or zero*64k data 0x00*64k absent or zero*64k");
}
TEST_F(States, FullOntoOldDataLeavesNothingOfIt) {  // both: D Z D Z
  EXPECT_EQ(own(copied({.sync = Sync::full}, {&source_}, full_of(Format::qcow2, 256_KiB, 8))),
            "data 0x01*64k zero*64k data 0x00*64k zero*64k");
}
TEST_F(States, FullUnderAHeaderWithABackingLeavesNothingAbsent) {
  EXPECT_EQ(own(copied({.sync = Sync::full, .header_backing = true}, {&source_},
                       Layer(Format::qcow2, 256_KiB))),
            "data 0x01*64k zero*64k data 0x00*64k zero*64k");
}
TEST_F(States, TopCopiesZeroAsZeroAndAbsentNotAtAll) {
  const Layer base = full_of(Format::qcow2, 256_KiB, 5);
  EXPECT_EQ(own(copied({.sync = Sync::top, .header_backing = true}, {&source_, &base},
                       Layer(Format::qcow2, 256_KiB), {&base})),
            "data 0x01*64k zero*64k data 0x00*64k absent*64k");
}
TEST_F(States, NoneCopiesNothingUntilTheGuestWrites) {
  MirrorRun run({.sync = Sync::none}, {&source_}, Layer(Format::raw, 256_KiB), {});
  EXPECT_EQ(run.dirty_at_start(), 0U);
  run.synced({&source_}, {});
  write(source_, {}, 4_KiB, 4_KiB, 9);
  run.source_changed({&source_}, {}, 4_KiB, 4_KiB);
  EXPECT_EQ(text(view({&run.destination()})), "1*4k 9*4k 1*56k 0*192k");
}

TEST(Interrupted, EachPlaceIsOldZeroOrOfTheSourceAtSomeMoment) {  // docs/model.md 1.3
  Layer source = full_of(Format::qcow2, 128_KiB, 1);
  MirrorRun run({.sync = Sync::full}, {&source}, full_of(Format::raw, 128_KiB, 8), {});
  EXPECT_EQ(text(view({&run.destination()})), "0|1|8*128k");
  write(source, {}, 0, 4_KiB, 9);
  run.source_changed({&source}, {}, 0, 4_KiB);
  EXPECT_EQ(text(view({&run.destination()})), "0|1|8|9*4k 0|1|8*124k");
  run.synced({&source}, {});
  EXPECT_EQ(text(view({&run.destination()})), "9*4k 1*124k");
}

TEST(Interrupted, OutsideTheDirtyGranulesNothingChanges) {
  Layer base = full_of(Format::qcow2, 256_KiB, 1);
  Layer source(Format::qcow2, 256_KiB);
  write(source, {&base}, 64_KiB, 64_KiB, 2);
  MirrorRun run({.sync = Sync::top}, {&source, &base}, full_of(Format::raw, 256_KiB, 8), {});
  EXPECT_EQ(text(view({&run.destination()})), "8*64k 2|8*64k 8*128k");
}

TEST(AfterReady, EveryWriteIsCopiedByWholeGranules) {
  Layer base = full_of(Format::qcow2, 256_KiB, 1);
  Layer source(Format::qcow2, 256_KiB);
  MirrorRun run({.sync = Sync::top}, {&source, &base}, Layer(Format::qcow2, 256_KiB), {});
  run.synced({&source, &base}, {});
  EXPECT_EQ(own(run.destination()), "absent*256k");
  write(source, {&base}, 200_KiB, 4_KiB, 9);
  run.source_changed({&source, &base}, {}, 200_KiB, 4_KiB);
  EXPECT_EQ(own(run.destination()), "absent*192k data 0x01*8k data 0x09*4k data 0x01*52k");
}

// Measured, 7.2: the first pass found a cluster absent and zeroed it; then a guest's write
// allocated it; only the granule that was written is copied again.
TEST(CopyOnWrite, LeavesOpenWhetherZeroesAreAllocated) {
  Layer source(Format::qcow2, 64_KiB);
  const Layer small(Format::qcow2, 64_KiB, 512);
  MirrorRun run({.sync = Sync::full}, {&source}, small, {});
  write(source, {}, 48_KiB, 512, 7);
  run.source_changed({&source}, {}, 48_KiB, 512);
  run.synced({&source}, {});
  EXPECT_TRUE(run.destination().at(0).allows(Kind::zero, 0));
  EXPECT_TRUE(run.destination().at(0).allows(Kind::data, 0));
  EXPECT_EQ(run.destination().at(48_KiB), Cell::Data(7));
  EXPECT_EQ(run.destination().at(49_KiB), Cell::Data(0));
}

TEST(Sizes, TheLastGranuleIsShort) {
  const Layer source = full_of(Format::qcow2, 100_KiB, 3);
  MirrorRun run({.sync = Sync::full}, {&source}, Layer(Format::raw, 100_KiB), {});
  EXPECT_EQ(run.dirty_at_start(), 100_KiB);
  run.synced({&source}, {});
  EXPECT_EQ(text(view({&run.destination()})), "3*100k");
}

}  // namespace
}  // namespace conformance::model
