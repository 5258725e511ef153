// Pull and commit against the measured rules (docs/model.md, 1.6) and by properties.

#include "conformance/model/merge.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "sim/base/bytes.h"

namespace conformance::model {
namespace {

using sim::operator""_KiB;

constexpr std::uint64_t kCluster = 64_KiB;

// One character a cluster: "-" absent, "z" zero, "d" a data zero or a zero cluster, "?" unsure,
// else the digit that all bytes are.
std::string kinds(const Layer& layer) {
  std::string text;
  for (std::uint64_t at = 0; at < layer.size(); at += layer.unit()) {
    const Cell& cell = layer.at(at);
    const auto byte = only(cell.data);
    if (cell == Cell::AnyZero())
      text += 'd';
    else if (!cell.certain())
      text += '?';
    else
      text += cell.absent ? '-' : cell.zero ? 'z' : static_cast<char>('0' + byte.value_or(0));
  }
  return text;
}

Layer layer(const std::string& text, std::uint64_t cluster = kCluster) {
  Layer result(Format::qcow2, text.size() * cluster, cluster);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const Cell cell = text[i] == '-'   ? Cell::Absent()
                      : text[i] == 'z' ? Cell::Zero()
                                       : Cell::Data(static_cast<std::uint8_t>(text[i] - '0'));
    result.assign(i * cluster, cluster, cell);
  }
  return result;
}

TEST(Pull, TakesWhatGoesAndLeavesWhatStays) {
  const Layer active = layer("3----"), middle = layer("-2-z-"), base = layer("111-1");
  EXPECT_EQ(kinds(pulled(active, {&middle}, {&base})), "32-d-");
  EXPECT_EQ(kinds(pulled(active, {&middle, &base}, {})), "321d1");
  EXPECT_EQ(kinds(pulled(active, {}, {&middle, &base})), "3----") << "its own backing stays";
}

// Measured on 5.2 to 11.1 (docs/decisions/incremental-pull.md): what nobody has becomes the active
// layer's own, and nothing else than the clusters that the range touches.
TEST(PullByIncrements, FillsWhatIsTouched) {
  const Layer active = layer("3-z---"), middle = layer("-2-z--"), base = layer("111-1-");
  const LayerChain below = {&middle, &base};
  EXPECT_EQ(kinds(increment_pulled(active, below, 0, 6 * kCluster)), "32zd1d");
  EXPECT_EQ(kinds(increment_pulled(active, below, kCluster, kCluster)), "32z---");
  EXPECT_EQ(kinds(increment_pulled(active, below, 4 * kCluster - 1, 2)), "3-zd1-");
  EXPECT_EQ(kinds(increment_pulled(active, below, 5 * kCluster, 0)), "3-z---");
}

// The copy is made by whole clusters of the active layer.
TEST(Pull, FillsWholeClusters) {
  const Layer active = layer("--", 4 * kCluster), middle = layer("-2------");
  const Layer base = layer("11111111");
  const Layer result = pulled(active, {&middle}, {&base});
  EXPECT_EQ(text(view({&result})), "1*64k 2*64k 1*128k 0*256k");
}

// A short layer hides what is below it: no byte of the base may come through.
TEST(Pull, DoesNotLetTheBaseShowBeyondAShortLayer) {
  const Layer active = layer("----"), middle = layer("2-"), base = layer("1111");
  const Layer result = pulled(active, {&middle, &base}, {});
  EXPECT_EQ(text(view({&result})), "2*64k 1*64k 0*128k");
}

TEST(Commit, WritesWhatIsAboveAndNothingElse) {
  const Layer top = layer("-3-z-"), middle = layer("22--z"), base = layer("1111-");
  EXPECT_EQ(kinds(committed({&top, &middle}, base, {})), "231d?");
  const Layer result = committed({&top, &middle}, base, {});
  EXPECT_EQ(text(view({&result})), "2*64k 3*64k 1*64k 0*128k");
}

TEST(Commit, MakesAShortBaseLonger) {
  const Layer top = layer("---3"), base = layer("11");
  const Layer result = committed({&top}, base, {});
  EXPECT_EQ(text(view({&result})), "1*128k 0*64k 3*64k");
  // What the base gets reads as zero even if something is below it there.
  const Layer below = layer("7777");
  EXPECT_EQ(text(view({&result, &below})).substr(0, 7), "1*128k ");
  const Layer over = committed({&top}, base, {&below});
  EXPECT_EQ(text(view({&over, &below})), "1*128k 0*64k 3*64k");
}

// A commit that has begun may have filled up what it touches of the base, and nothing else.
TEST(Commit, FillsUpClustersOfTheBase) {
  const Layer top = layer("-3----------", kCluster), base = layer("-1-", 4 * kCluster);
  const Layer below = layer("777777777777", kCluster);
  EXPECT_EQ(begun({&top}, base, {&below}).at(3 * kCluster).text(), "absent or data 0x07");
  EXPECT_EQ(begun({&top}, base, {}).at(0).text(), "absent or data 0x00");
  EXPECT_EQ(kinds(begun({&top}, base, {})), "?1-");
  const Layer raw(Format::raw, 12 * kCluster);
  EXPECT_EQ(begun({&top}, raw, {}), raw);
}

// Whatever the layers hold: the disk shows the same before and after.
TEST(Merge, PreservesTheView) {
  std::mt19937 random(1);
  const auto any = [&](std::uint64_t clusters, std::uint64_t cluster) {
    std::string text;
    for (std::uint64_t i = 0; i < clusters; ++i) text += "----zz12345"[random() % 11];
    return layer(text, cluster);
  };
  for (int round = 0; round < 500; ++round) {
    const std::uint64_t sizes[] = {64_KiB, 128_KiB, 256_KiB};
    const auto pick = [&] { return sizes[random() % 3]; };
    std::vector<Layer> layers;
    for (int i = 0; i < 4; ++i) {
      const std::uint64_t cluster = pick();
      layers.push_back(any(1024_KiB / cluster, cluster));
    }
    const LayerChain chain{&layers[0], &layers[1], &layers[2], &layers[3]};
    const View before = view(chain);
    const Layer pull = pulled(layers[0], {&layers[1], &layers[2]}, {&layers[3]});
    EXPECT_EQ(text(view({&pull, &layers[3]})), text(before));
    const Layer all = pulled(layers[0], {&layers[1], &layers[2], &layers[3]}, {});
    EXPECT_EQ(text(view({&all})), text(before));
    const Layer commit = committed({&layers[1]}, layers[2], {&layers[3]});
    EXPECT_EQ(text(view({&layers[0], &commit, &layers[3]})), text(before));
    const Layer two = committed({&layers[1], &layers[2]}, layers[3], {});
    EXPECT_EQ(text(view({&layers[0], &two})), text(before));
    // Interrupted anywhere, the disk is still the same.
    const Layer half = either(layers[0], pull);
    EXPECT_EQ(text(view({&half, &layers[1], &layers[2], &layers[3]})), text(before));
    const Layer half_base =
        either(begun({&layers[1]}, layers[2], {&layers[3]}), either(layers[2], commit));
    EXPECT_EQ(text(view({&layers[0], &layers[1], &half_base, &layers[3]})), text(before));
  }
}

}  // namespace
}  // namespace conformance::model
