// What an observed image tells, and that it writes what one writes that is not.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "sim/qcow2/create.h"
#include "sim/qcow2/image.h"
#include "sim/storage/memory.h"

namespace sim::qcow2 {
namespace {

using ::testing::ElementsAre;

class Recorder final : public Observer {
 public:
  Task<void> at(std::string_view moment) override {
    moments.emplace_back(moment);
    co_return;
  }
  std::vector<std::string> take() { return std::exchange(moments, {}); }
  std::vector<std::string> moments;
};

struct Written {
  std::vector<std::byte> bytes;
  std::vector<std::vector<std::string>> moments;  // of each request
};

// Three writes into an image of 1 MiB: the first of all, in place, and one over 3 clusters.
Written write_some(bool observed) {
  World world(1);
  const auto file = std::make_shared<storage::MemoryFile>();
  EXPECT_TRUE(run(world, create(*file, {.size = 1024 * 1024})));
  Recorder recorder;
  OpenOptions options{.writable = true, .lax = true};
  if (observed) options.observer = &recorder;
  auto image = run(world, Image::open(world, file, options));
  EXPECT_TRUE(image);
  Written written;
  written.moments.push_back(recorder.take());
  const std::vector<std::byte> data(160 * 1024, std::byte{7});
  for (const auto& [at, length] : {std::pair{4096, 4096}, {8192, 4096}, {100 * 1024, 160 * 1024}}) {
    EXPECT_TRUE(
        run(world, (*image)->write({std::uint64_t(at)}, Bytes(data).first(std::size_t(length)))));
    written.moments.push_back(recorder.take());
  }
  EXPECT_TRUE(run(world, (*image)->close()));
  written.bytes.resize(file->size());
  EXPECT_TRUE(run(world, file->read(0, written.bytes)));
  return written;
}

// Measured with breakpoints of blkdebug on 5.2 to 11.1.
TEST(ObservedTest, TellsTheMomentsOfQemu) {
  const Written written = write_some(true);
  EXPECT_THAT(written.moments[0], ElementsAre("reftable_load"));
  EXPECT_THAT(written.moments[1], ElementsAre("cluster_alloc", "refblock_alloc", "refblock_load",
                                              "refblock_update_part", "l2_alloc_write", "l2_update",
                                              "l1_update", "cluster_alloc", "refblock_alloc",
                                              "refblock_load", "cluster_alloc_space", "write_aio"));
  EXPECT_THAT(written.moments[2], ElementsAre("write_aio"));
  EXPECT_THAT(written.moments[3], ElementsAre("cluster_alloc", "refblock_alloc", "refblock_load",
                                              "cluster_alloc_space", "write_aio"));
}

TEST(ObservedTest, WritesTheSameBytes) {
  EXPECT_EQ(write_some(true).bytes, write_some(false).bytes);
}

}  // namespace
}  // namespace sim::qcow2
