// Guest requests against the real qemu-io: after the same requests the files are the same, byte for
// byte.

#include "sim/qcow2/image.h"

#include <gtest/gtest.h>

#include "sim/qcow2/request_tools.h"

namespace sim::qcow2 {
namespace {

using testing::kDiscard;
using testing::kWrite;
using testing::kZero;
using testing::kZeroUnmap;
using testing::Session;

class ImageTest : public testing::SameRequests {
 protected:
  void start(std::uint64_t size, std::uint32_t bits, std::uint64_t base_size = 0) {
    create("cluster_size=" + std::to_string(std::uint64_t{1} << bits), size, base_size);
  }
};

constexpr std::uint64_t k = 1024, M = 1024 * 1024;

struct Row {
  const char* name;
  std::uint64_t size;
  std::vector<Session> sessions;
  std::uint64_t base_size = 0;
};

// facts about QEMU's order of allocation, each found out with qemu-io in the first place
const std::vector<Row>& rows() {
  static const std::vector<Row> kRows = {
      {"first write", 64 * M, {{{kWrite, 0, 4 * k}}}},
      {"512 bytes", 64 * M, {{{kWrite, 70000, 512}}}},
      {"data before an earlier cluster", 64 * M, {{{kWrite, M, 200 * k}, {kWrite, 0, 64 * k}}}},
      {"across L2 tables", 2048 * M, {{{kWrite, 511 * M, 2 * M}}}},
      {"around a cluster", 64 * M, {{{kWrite, 64 * k, 64 * k}, {kWrite, 0, 256 * k, 2}}}},
      {"behind a cluster", 64 * M, {{{kWrite, 0, 64 * k}, {kWrite, 4 * k, 256 * k, 2}}}},
      {"copy on write", 64 * M, {{{kWrite, 68 * k, 4 * k}}}, 64 * M},
      {"copy on write of two", 64 * M, {{{kWrite, 60 * k, 8 * k}}}, 64 * M},
      {"short backing", M, {{{kWrite, 96 * k, 2 * k}}}, 100 * k},
      {"zeroes", 64 * M, {{{kZero, 0, 128 * k}}}},
      {"zeroes unaligned", 64 * M, {{{kZero, 4 * k, 128 * k}}}},
      {"zeroes unaligned over data", 64 * M, {{{kZero, 4 * k, 120 * k}}}, 64 * M},
      {"zeroes unaligned over a hole", 64 * M, {{{kZero, 132 * k, 10 * k}}}, 64 * M},
      {"zeroes on data", 64 * M, {{{kWrite, 0, 64 * k}, {kZero, 0, 64 * k}}}},
      {"unmap", 64 * M, {{{kWrite, 0, 64 * k}, {kZeroUnmap, 0, 64 * k}}}},
      {"discard", 64 * M, {{{kWrite, 0, 64 * k}, {kDiscard, 0, 64 * k}}}},
      {"discard of nothing", 64 * M, {{{kDiscard, 0, M}}}},
      {"discard over backing", 64 * M, {{{kWrite, 0, 64 * k}, {kDiscard, 0, 256 * k}}}, 64 * M},
      {"write into preallocated zero",
       64 * M,
       {{{kWrite, 0, 64 * k, 9}, {kZero, 0, 64 * k}, {kWrite, 4 * k, 4 * k, 2}}}},
      {"write into plain zero", 64 * M, {{{kZero, 0, 256 * k}, {kWrite, 70 * k, 4 * k}}}, 64 * M},
      {"holes too small are skipped",
       64 * M,
       {{{kWrite, 0, 256 * k}},
        {{kDiscard, 0, 64 * k}, {kDiscard, 128 * k, 64 * k}},
        {{kWrite, M, 128 * k}, {kWrite, 2 * M, 64 * k}, {kWrite, 3 * M, 64 * k}}}},
      {"holes are found",
       64 * M,
       {{{kWrite, 0, 256 * k}},
        {{kDiscard, 0, 64 * k}, {kDiscard, 128 * k, 64 * k}},
        {{kWrite, M, 64 * k}, {kWrite, 2 * M, 64 * k}, {kWrite, 3 * M, 64 * k}}}},
      {"freed in the session",
       64 * M,
       {{{kWrite, 0, 256 * k},
         {kDiscard, 64 * k, 64 * k},
         {kWrite, M, 64 * k},
         {kWrite, 2 * M, 64 * k}}}},
      {"discard of parts", 64 * M, {{{kWrite, M, 256 * k}, {kDiscard, 1028 * k, 50 * k}}}},
      {"the last, short cluster",
       100000,
       {{{kWrite, 0, 100000}, {kZero, 65536, 34464}, {kDiscard, 65536, 34816}}}},
      {"last cluster over a longer backing", 100352, {{{kWrite, 99840, 512}}}, 300 * k},
      {"zero the last cluster", 100352, {{{kZero, 66000, 34352}}}, 300 * k},
  };
  return kRows;
}

TEST_F(ImageTest, EveryMeasuredCaseGivesTheSameFile) {
  for (const Row& row : rows()) {
    SCOPED_TRACE(row.name);
    start(row.size, 16, row.base_size);
    for (const Session& requests : row.sessions) session(requests);
    expect_same();
    expect_clean();
  }
}

// 512-byte clusters: a block counts 256 clusters, a table of one cluster has 64 blocks.
TEST_F(ImageTest, RefcountsGrowInTheSamePlaces) {
  start(64 * M, 9);
  Session requests;
  for (int i = 0; i < 200; ++i)
    requests.push_back({kWrite, static_cast<std::uint64_t>(i) * 512, 512});
  session(requests);
  session({{kWrite, M, 32 * k}, {kWrite, 2 * M, 100}});
  expect_same();
  session({{kWrite, 4 * M, 4 * M}});
  expect_same();
  session({{kWrite, 9 * M, 4 * M}, {kWrite, 14 * M, 512}, {kWrite, 16 * M, 20 * M}});
  expect_same();
  expect_clean();
}

TEST_F(ImageTest, RandomSessionsGiveTheSameFile) {
  Rng rng(2024);
  for (int round = 0; round < 40; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    const std::uint32_t bits = std::array{9U, 12U, 16U, 17U, 21U}[rng.below(5)];
    const std::uint64_t size = (1 + rng.below(8000)) * 512;
    start(size, bits, rng.chance({1, 2}) ? (1 + rng.below(8000)) * 512 : 0);
    for (int part = 0; part < 3; ++part) {
      session(testing::random_session(rng, size, std::uint64_t{1} << bits));
      expect_same();
      if (HasFailure()) return;
    }
    expect_clean();
  }
}

}  // namespace
}  // namespace sim::qcow2
