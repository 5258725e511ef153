// The rules of one layer and of reading through a chain.  Values: docs/model.md 1.1 and 1.2, and
// what a fresh image looks like (measured on QEMU 7.2 with qemu-io).

#include "conformance/model/layer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include "sim/base/bytes.h"

namespace conformance::model {
namespace {

using sim::operator""_KiB;
using sim::operator""_MiB;

// "absent*64k zero*64k data 0x01*896k"
std::string own(const Layer& layer) {
  std::string text;
  for (const CellRun& run : layer.runs())
    text +=
        (text.empty() ? "" : " ") + run.cell.text() + "*" + std::to_string(run.length / 1024) + "k";
  return text;
}

TEST(Cell, IsASetOfPossibilities) {
  EXPECT_TRUE(Cell::Data(7).allows(Kind::data, 7));
  EXPECT_FALSE(Cell::Data(7).allows(Kind::data, 8));
  EXPECT_FALSE(Cell::Data(0).allows(Kind::zero, 0));
  EXPECT_TRUE(Cell::AnyZero().allows(Kind::zero, 0));
  EXPECT_TRUE(Cell::AnyZero().allows(Kind::data, 0));
  EXPECT_FALSE(Cell::AnyZero().certain());
  const Cell both = either(Cell::Absent(), Cell::Data(9));
  EXPECT_EQ(both.text(), "absent or data 0x09");
  EXPECT_EQ(text(values_of(both, value(1))), "1|9");
  EXPECT_EQ(both.kind(), std::nullopt);
}

TEST(View, AShortLayerEndsTheSearchWithZero) {
  Layer base(Format::qcow2, 1_MiB);
  write(base, {}, 0, 1_MiB, 1);
  Layer middle(Format::qcow2, 512_KiB);
  Layer top(Format::qcow2, 1_MiB);
  write(top, {&middle, &base}, 960_KiB, 64_KiB, 3);
  EXPECT_EQ(text(view({&top, &middle, &base})), "1*512k 0*448k 3*64k");
}

TEST(View, ALongerBackingIsCutOff) {
  Layer base(Format::raw, 2_MiB);
  write(base, {}, 0, 2_MiB, 1);
  const Layer top(Format::qcow2, 512_KiB);
  EXPECT_EQ(text(view({&top, &base})), "1*512k");
}

TEST(View, AbsentWithoutBackingAndZeroReadAsZeroes) {
  Layer base(Format::qcow2, 256_KiB);
  write(base, {}, 0, 256_KiB, 1);
  Layer top(Format::qcow2, 256_KiB);
  write_zeroes(top, {&base}, 64_KiB, 64_KiB);
  EXPECT_EQ(text(view({&top, &base})), "1*64k 0*64k 1*128k");
  EXPECT_EQ(text(view({&top})), "0*256k");
  EXPECT_EQ(own(top), "absent*64k zero*64k absent*128k");
}

TEST(Write, PartOfAnAbsentClusterMakesAllOfItData) {  // qcow2.md 12, 5 and 6
  Layer base(Format::qcow2, 100_KiB);
  write(base, {}, 0, 100_KiB, 1);
  Layer top(Format::qcow2, 256_KiB);
  write(top, {&base}, 96_KiB, 2_KiB, 2);  // the cluster straddles the base's end
  EXPECT_EQ(own(top),
            "absent*64k data 0x01*32k data 0x02*2k data 0x01*2k data 0x00*28k absent*128k");
  write(top, {&base}, 60_KiB, 8_KiB, 3);
  EXPECT_EQ(text(view({&top, &base})), "1*60k 3*8k 1*28k 2*2k 1*2k 0*156k");
}

TEST(Write, PartOfAZeroClusterMakesTheRestDataOfZeroes) {  // qcow2.md 12, 13
  Layer base(Format::qcow2, 128_KiB);
  write(base, {}, 0, 128_KiB, 1);
  Layer top(Format::qcow2, 128_KiB);
  write_zeroes(top, {&base}, 64_KiB, 64_KiB);
  write(top, {&base}, 68_KiB, 4_KiB, 5);
  EXPECT_EQ(own(top), "absent*64k data 0x00*4k data 0x05*4k data 0x00*56k");
}

TEST(Write, TheLastClusterMayBeShort) {
  Layer top(Format::qcow2, 100_KiB);
  write(top, {}, 99_KiB, 1_KiB, 4);
  EXPECT_EQ(own(top), "absent*64k data 0x00*35k data 0x04*1k");
}

TEST(Zero, WholeClusters) {  // qcow2.md 12, 7 and 10
  Layer top(Format::qcow2, 256_KiB);
  write(top, {}, 0, 64_KiB, 1);
  write_zeroes(top, {}, 0, 128_KiB);
  EXPECT_EQ(own(top), "zero*128k absent*128k");
}

TEST(Zero, APartOfWhatIsZeroAnywayGivesWholeClusters) {  // qcow2.md 12, 8
  Layer top(Format::qcow2, 256_KiB);
  write_zeroes(top, {}, 4_KiB, 128_KiB);
  EXPECT_EQ(own(top), "zero*192k absent*64k");
}

TEST(Zero, APartOverDataOfTheBackingIsAWrite) {  // qcow2.md 12, 9
  Layer base(Format::qcow2, 256_KiB);
  write(base, {}, 0, 256_KiB, 1);
  Layer top(Format::qcow2, 256_KiB);
  write_zeroes(top, {&base}, 4_KiB, 120_KiB);
  EXPECT_EQ(own(top), "data 0x01*4k data 0x00*120k data 0x01*4k absent*128k");
}

TEST(Zero, APartOverZeroesThatAreDataIsAWrite) {  // block status decides, not the bytes
  Layer base(Format::qcow2, 64_KiB);
  write(base, {}, 0, 64_KiB, 0);
  Layer top(Format::qcow2, 64_KiB);
  write_zeroes(top, {&base}, 4_KiB, 4_KiB);
  EXPECT_EQ(own(top), "data 0x00*64k");
  // Of a raw file only the file system knows.
  const Layer raw(Format::raw, 64_KiB);
  Layer over(Format::qcow2, 64_KiB);
  write_zeroes(over, {&raw}, 4_KiB, 4_KiB);
  EXPECT_EQ(own(over), "zero or data 0x00*64k");
}

TEST(Zero, Version2HasNoZeroClusters) {  // qcow2.md 12.3
  Layer alone(Format::qcow2, 128_KiB, 65536, 2);
  write(alone, {}, 0, 128_KiB, 1);
  write_zeroes(alone, {}, 0, 64_KiB);
  EXPECT_EQ(own(alone), "absent*64k data 0x01*64k");
  Layer base(Format::qcow2, 128_KiB);
  Layer top(Format::qcow2, 128_KiB, 65536, 2);
  write_zeroes(top, {&base}, 0, 64_KiB);
  EXPECT_EQ(own(top), "data 0x00*64k absent*64k");
}

TEST(Discard, Version3NeverLetsOldDataComeBack) {  // qcow2.md 12, 11 and 12.3
  Layer base(Format::qcow2, 192_KiB);
  Layer top(Format::qcow2, 192_KiB);
  write(top, {&base}, 0, 64_KiB, 1);
  discard(top, {&base}, 0, 128_KiB);
  EXPECT_EQ(own(top), "zero*128k absent*64k");
  Layer alone(Format::qcow2, 192_KiB);
  write(alone, {}, 0, 64_KiB, 1);
  discard(alone, {}, 0, 192_KiB);
  EXPECT_EQ(own(alone), "zero*64k absent*128k");
}

TEST(Discard, PartsOfClustersAreIgnored) {  // qcow2.md 12, 19
  Layer top(Format::qcow2, 256_KiB);
  write(top, {}, 0, 256_KiB, 1);
  discard(top, {}, 4_KiB, 100_KiB);
  EXPECT_EQ(own(top), "data 0x01*256k");
}

TEST(Discard, Version2OverABackingFileKeepsWhatItHas) {  // qcow2.md 12.3
  Layer base(Format::qcow2, 128_KiB);
  Layer top(Format::qcow2, 128_KiB, 65536, 2);
  write(top, {&base}, 0, 64_KiB, 1);
  discard(top, {&base}, 0, 128_KiB);
  EXPECT_EQ(own(top), "data 0x01*64k absent*64k");
}

TEST(Raw, IsNeverAbsentAndDoesNotTellItsHoles) {
  Layer raw(Format::raw, 4_KiB);
  EXPECT_EQ(raw.at(0), Cell::AnyZero());
  write(raw, {}, 512, 512, 0);
  write_zeroes(raw, {}, 1024, 512);
  EXPECT_EQ(raw.runs().size(), 1U);
  write(raw, {}, 512, 512, 8);
  EXPECT_EQ(raw.at(512), Cell::Data(8));
}

TEST(Status, KnowsWhatIsZeroWithoutReading) {
  Layer base(Format::qcow2, 128_KiB);
  write(base, {}, 64_KiB, 64_KiB, 0);
  Layer top(Format::qcow2, 256_KiB);
  write_zeroes(top, {&base}, 192_KiB, 64_KiB);
  const auto runs = status({&top, &base}, 0, 256_KiB);
  ASSERT_EQ(runs.size(), 4U);
  EXPECT_TRUE(runs[0].may_be_zero && !runs[0].may_be_data);  // nobody has it
  EXPECT_TRUE(!runs[1].may_be_zero && runs[1].may_be_data);  // data of zeroes
  EXPECT_TRUE(runs[2].may_be_zero && !runs[2].may_be_data);  // beyond the base's end
  EXPECT_TRUE(runs[3].may_be_zero && runs[3].whole);         // a zero cluster
}

}  // namespace
}  // namespace conformance::model
