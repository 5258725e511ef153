// Guest requests to images with features beyond the plain ones, against the real qemu-io: byte for
// byte the same files.

#include <gtest/gtest.h>

#include "sim/qcow2/request_tools.h"

namespace sim::qcow2 {
namespace {

using testing::kDiscard;
using testing::kWrite;
using testing::kZero;
using testing::kZeroUnmap;
using testing::Session;

constexpr std::uint64_t k = 1024, M = 1024 * 1024;

class FeaturesTest : public testing::SameRequests {
 protected:
  struct Row {
    const char* name;
    std::vector<Session> sessions;
    std::uint64_t base_size = 0;
    std::uint64_t size = 4 * M;
  };
  void expect_same_for(const std::string& options, const std::vector<Row>& rows) {
    for (const Row& row : rows) {
      SCOPED_TRACE(row.name);
      create(options, row.size, row.base_size);
      for (const Session& requests : row.sessions) session(requests);
      expect_same();
      expect_clean();
    }
  }
  void expect_same_at_random(const std::string& options, std::uint64_t seed, int rounds,
                             std::initializer_list<std::uint64_t> cluster_sizes, bool based) {
    Rng rng(seed);
    const std::vector<std::uint64_t> clusters(cluster_sizes);
    for (int round = 0; round < rounds; ++round) {
      SCOPED_TRACE(options + ", round " + std::to_string(round));
      const std::uint64_t cluster = clusters[rng.below(clusters.size())];
      const std::uint64_t size = (1 + rng.below(8000)) * 512;
      const std::uint64_t base = based && rng.chance({1, 2}) ? (1 + rng.below(8000)) * 512 : 0;
      create(options + ",cluster_size=" + std::to_string(cluster), size, base);
      for (int part = 0; part < 3; ++part) {
        session(testing::random_session(rng, size, cluster));
        expect_same();
        if (HasFailure()) return;
      }
      expect_clean();
    }
  }
};

TEST_F(FeaturesTest, SubclustersAreWrittenAsQemuDoes) {
  expect_same_for(
      "extended_l2=on",
      {
          {"1k at 5k", {{{kWrite, 5 * k, k}}}},
          {"over data of the backing", {{{kWrite, 5 * k, k}}}, 4 * M},
          {"across clusters", {{{kWrite, 60 * k, 80 * k}}}, 4 * M},
          {"a second subcluster", {{{kWrite, 5 * k, k}, {kWrite, 31 * k, 3 * k, 2}}}, 4 * M},
          {"zeroes within", {{{kWrite, 0, 64 * k}, {kZero, 66 * k, 4 * k}, {kZero, 4 * k, 8 * k}}}},
          {"zeroes unaligned over data", {{{kZero, k, 4 * k}}}, 4 * M},
          {"write into zeroes", {{{kZero, 0, 128 * k}, {kWrite, 5 * k, k}}}, 4 * M},
          {"discard whole", {{{kWrite, 0, 128 * k}, {kDiscard, 0, 64 * k}}}},
          {"discard part", {{{kWrite, 0, 128 * k}, {kDiscard, 2 * k, 2 * k}}}},
          {"unmap whole", {{{kWrite, 0, 128 * k}, {kZeroUnmap, 0, 64 * k}}}},
          {"zero whole and write", {{{kWrite, 0, 128 * k}, {kZero, 0, 64 * k}, {kWrite, 9000, 9}}}},
          {"the last cluster", {{{kZero, 66000, 34352}, {kWrite, 99000, 10}}}, 300 * k, 100352},
          {"zero the last cluster", {{{kZero, 65536, 34816}}}, 300 * k, 100352},
      });
}

TEST_F(FeaturesTest, SubclustersAtRandom) {
  expect_same_at_random("extended_l2=on", 1, 8, {16 * k, 64 * k, 256 * k, 2 * M}, true);
}

TEST_F(FeaturesTest, Version2HasNoZeroes) {
  expect_same_for(
      "compat=0.10",
      {
          {"zeroes on nothing", {{{kZero, 0, 128 * k}}}},
          {"zeroes on data", {{{kWrite, 0, 128 * k}, {kZero, 0, 64 * k}}}},
          {"zeroes over a backing", {{{kZero, 0, 256 * k}}}, 4 * M},
          {"part over a backing", {{{kZero, 4 * k, 100 * k}}}, 4 * M},
          {"discard", {{{kWrite, 0, 128 * k}, {kDiscard, 0, 64 * k}}}},
          {"discard over a backing", {{{kWrite, 0, 128 * k}, {kDiscard, 0, 256 * k}}}, 4 * M},
      });
}

TEST_F(FeaturesTest, Version2AtRandom) {
  expect_same_at_random("compat=0.10", 2, 5, {512, 4 * k, 64 * k}, true);
}

TEST_F(FeaturesTest, DataFileAtRandom) {
  expect_same_at_random("data_file=data", 3, 5, {512, 4 * k, 64 * k}, true);
  expect_same_at_random("data_file=data,extended_l2=on", 4, 3, {16 * k, 64 * k}, true);
}

TEST_F(FeaturesTest, RawDataFileAtRandom) {
  expect_same_at_random("data_file=data,data_file_raw=on", 5, 4, {4 * k, 64 * k}, false);
  expect_same_at_random("data_file=data,data_file_raw=on,extended_l2=on", 6, 4, {64 * k}, false);
}

TEST_F(FeaturesTest, RefcountWidthsAtRandom) {
  for (const int bits : {1, 2, 4, 8, 32, 64})
    expect_same_at_random("refcount_bits=" + std::to_string(bits), 7, 1, {512, 64 * k}, true);
}

TEST_F(FeaturesTest, EncryptedAtRandom) {
  expect_same_at_random("encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", 9, 4,
                        {4 * k, 64 * k}, true);
  expect_same_at_random(
      "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,extended_l2=on", 10, 2,
      {16 * k, 64 * k}, true);
  expect_same_at_random("encrypt.format=aes,encrypt.key-secret=s", 11, 3, {512, 64 * k}, true);
}

// Without the key, the tables can be looked at.
TEST_F(FeaturesTest, EncryptedWithoutItsKey) {
  create("encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", M);
  session({{kWrite, 0, 4 * k}});
  cipher_.reset();
  auto image = open();
  std::vector<std::byte> buffer(512);
  EXPECT_EQ(run(world_, image->read({0}, buffer)).error().number, EIO);
  EXPECT_EQ(run(world_, image->write({0}, buffer)).error().number, EIO);
  EXPECT_TRUE(run(world_, image->status({0}, M)).ok());
  EXPECT_TRUE(run(world_, image->close()).ok());
}

// The header says so from the first deferred count to the close; who opens the image after a crash
// counts anew.
TEST_F(FeaturesTest, LazyRefcountsAreCountedWhenTheImageIsClosed) {
  create("lazy_refcounts=on", M);
  const auto stored = [this] { return *run(world_, read_header(*ours_, false)); };
  const auto counted = [this] {  // of the data cluster, the sixth
    std::array<std::byte, 2> bytes{};
    ours_->read_now(0x2000a, bytes);
    return load_be<std::uint16_t>(bytes, 0);
  };
  const std::vector<std::byte> data(4 * k, std::byte{7});
  {
    auto image = open();
    EXPECT_FALSE(stored().is_dirty());
    EXPECT_TRUE(run(world_, image->write({0}, data)).ok());
    EXPECT_TRUE(run(world_, image->flush()).ok());
    EXPECT_TRUE(stored().is_dirty());
    EXPECT_EQ(counted(), 0);  // and crash
  }
  {
    auto image = open();
    EXPECT_FALSE(stored().is_dirty());
    std::vector<std::byte> buffer(4 * k);
    EXPECT_TRUE(run(world_, image->read({0}, buffer)).ok());
    EXPECT_EQ(buffer, data);
    EXPECT_TRUE(run(world_, image->write({64 * k}, data)).ok());
    EXPECT_TRUE(stored().is_dirty());
    EXPECT_TRUE(run(world_, image->close()).ok());
    EXPECT_FALSE(stored().is_dirty());
  }
  expect_clean();
}

// What was a snapshot table, a directory of bitmaps or a table is a cluster like any other when it
// has been freed.
TEST_F(FeaturesTest, WhereStructuresWereCanBeWritten) {
  create("cluster_size=4k", 4 * M);
  auto image = open();
  const std::vector<std::byte> data(40 * k, std::byte{3});
  std::uint64_t at = 0;
  const auto expect_written = [&](const Result<>& done) {
    ASSERT_TRUE(done.ok()) << done.error().desc;
    for (int i = 0; i < 3; ++i, at += 44 * k)
      ASSERT_TRUE(run(world_, image->write({at}, data)).ok()) << at;
  };
  for (const char* const name : {"a", "b", "c"}) {
    expect_written(run(world_, image->create_snapshot({.name = name})));
    expect_written(run(world_, image->add_bitmap(name, 16, true)));
  }
  expect_written(run(world_, image->remove_bitmap("b")));
  expect_written(run(world_, image->delete_snapshot("a")));
  expect_written(run(world_, image->remove_bitmap("a")));
  expect_written(run(world_, image->remove_bitmap("c")));
  expect_written(run(world_, image->apply_snapshot("b")));
  expect_written(run(world_, image->delete_snapshot("c")));
  EXPECT_TRUE(run(world_, image->close()).ok());
  EXPECT_FALSE(image->header().is_corrupt());
  expect_clean();
}

TEST_F(FeaturesTest, OptionsMustFitTheImage) {
  create("compat=0.10", M);
  const auto refusal = [this](OpenOptions options) {
    const auto image = run(world_, Image::open(world_, ours_, std::move(options)));
    return image.ok() ? "" : image.error().desc;
  };
  EXPECT_EQ(refusal({.lazy_refcounts = true}),
            "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level");
  EXPECT_EQ(refusal({.data_file = std::make_shared<storage::MemoryFile>()}),
            "'data-file' can only be set for images with an external data file");
  create("data_file=data", M);
  EXPECT_EQ(refusal({}), "'data-file' is required for this image");
}

TEST_F(FeaturesTest, LazyRefcountsAtRandom) {
  expect_same_at_random("lazy_refcounts=on", 8, 3, {512, 64 * k}, true);
}

}  // namespace
}  // namespace sim::qcow2
