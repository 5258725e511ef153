// Guest requests against the real qemu-io: after the same requests the files are the same, byte for
// byte.

#include "sim/qcow2/image.h"

#include <gtest/gtest.h>

#include "sim/qcow2/create.h"
#include "sim/qcow2/qemu_tools.h"
#include "sim/storage/file.h"

namespace sim::qcow2 {
namespace {

// A raw file as a backing.
class RawBacking final : public Backing {
 public:
  explicit RawBacking(std::shared_ptr<storage::Storage> file) : file_(std::move(file)) {}
  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override {
    return file_->read(offset, into);
  }
  std::uint64_t size() const override { return file_->size(); }
  Task<Result<bool>> reads_as_zero(std::uint64_t offset, std::uint64_t length) override {
    while (length > 0 && offset < size()) {
      const storage::Extent extent = file_->extent_at(offset);
      if (extent.data) co_return false;
      offset += extent.length;
      length -= std::min(length, extent.length);
    }
    co_return true;
  }

 private:
  std::shared_ptr<storage::Storage> file_;
};

struct Request {
  enum class Kind { write, zero, zero_unmap, discard } kind;
  std::uint64_t at, length;
  int pattern = 1;
};
using Session = std::vector<Request>;  // from open to close
constexpr auto kWrite = Request::Kind::write;
constexpr auto kZero = Request::Kind::zero;
constexpr auto kZeroUnmap = Request::Kind::zero_unmap;
constexpr auto kDiscard = Request::Kind::discard;

std::string spell(const Request& request) {
  const std::string range = std::to_string(request.at) + " " + std::to_string(request.length);
  switch (request.kind) {
    case kWrite:
      return "write -P " + std::to_string(request.pattern) + " " + range;
    case kZero:
      return "write -z " + range;
    case kZeroUnmap:
      return "write -z -u " + range;
    default:
      return "discard " + range;
  }
}

class ImageTest : public testing::WithQemu {
 protected:
  // Both sides start from the same empty image; `base_size` > 0 puts it over a raw file that holds
  // data in every other 100 KiB.
  void start(std::uint64_t size, std::uint32_t bits, std::uint64_t base_size = 0) {
    ours_ = std::make_shared<storage::MemoryFile>();
    CreateOptions options{
        .size = size, .cluster_bits = bits, .backing_file = "", .backing_format = ""};
    std::string backing;
    backing_.reset();
    if (base_size > 0) {
      must("rm -f base.raw; truncate -s " + std::to_string(base_size) + " base.raw");
      storage::RealFiles files;
      auto base = files.open(directory_ / "base.raw", storage::Access::read_write);
      ASSERT_TRUE(base.ok());
      for (std::uint64_t at = 0, i = 1; at < base_size; at += 200_KiB, ++i) {
        const std::vector<std::byte> data(std::min(100_KiB, base_size - at),
                                          static_cast<std::byte>(100 + i % 100));
        ASSERT_TRUE(run(world_, (*base)->write(at, data)).ok());
      }
      options.backing_file = "base.raw";
      options.backing_format = "raw";
      backing = " -b base.raw -F raw";
      backing_ = std::make_unique<RawBacking>(*base);
    }
    ASSERT_TRUE(run(world_, create(*ours_, options)).ok());
    must("qemu-img create -q -f qcow2" + backing + " -o cluster_size=" +
         std::to_string(std::uint64_t{1} << bits) + " theirs.qcow2 " + std::to_string(size));
  }

  std::unique_ptr<Image> open(bool writable = true) {
    auto image = run(world_, Image::open(world_, ours_, writable));
    EXPECT_TRUE(image.ok()) << image.error().desc;
    (*image)->set_backing(backing_.get());
    return *std::move(image);
  }

  Result<> perform(Image& image, const Request& request) {
    const std::vector<std::byte> data(request.kind == kWrite ? request.length : 0,
                                      static_cast<std::byte>(request.pattern));
    const GuestOffset at{request.at};
    switch (request.kind) {
      case kWrite:
        return run(world_, image.write(at, data));
      case kDiscard:
        return run(world_, image.discard(at, request.length));
      default:
        return run(world_, image.write_zeroes(at, request.length, request.kind == kZeroUnmap));
    }
  }

  void session(const Session& requests) {
    auto image = open();
    std::string command = "qemu-io -d unmap -f qcow2";
    for (const Request& request : requests) {
      const auto done = perform(*image, request);
      EXPECT_TRUE(done.ok()) << spell(request) << ": " << done.error().desc;
      command += " -c '" + spell(request) + "'";
    }
    EXPECT_TRUE(run(world_, image->close()).ok());
    must(command + " theirs.qcow2 > log");
  }

  void expect_same() { EXPECT_EQ(testing::difference(*ours_, directory_ / "theirs.qcow2"), ""); }

  // QEMU's view of our file.
  void expect_clean() {
    testing::save(*ours_, directory_ / "ours.qcow2");
    must("qemu-img check -q -f qcow2 ours.qcow2");
  }

  std::shared_ptr<storage::MemoryFile> ours_;
  std::unique_ptr<Backing> backing_;
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
      Session requests;
      for (int i = 0; i < 30; ++i) {
        const std::uint64_t unit = rng.chance({1, 2}) ? 512 : 4096;
        std::uint64_t at = rng.below(size) / unit * unit;
        if (rng.chance({1, 4})) at = align_down(at, std::uint64_t{1} << bits);
        const std::uint64_t most = rng.chance({1, 2}) ? 10000 : 700000;
        const std::uint64_t length =
            std::min(size - at, align_up(1 + rng.below(most), rng.chance({1, 4}) ? 1 : unit));
        const std::uint64_t draw = rng.below(10);
        const auto kind = draw < 5 ? kWrite : draw < 7 ? kZero : draw < 8 ? kZeroUnmap : kDiscard;
        requests.push_back({kind, at, length, static_cast<int>(1 + rng.below(255))});
      }
      session(requests);
      expect_same();
      if (HasFailure()) return;
    }
    expect_clean();
  }
}

}  // namespace
}  // namespace sim::qcow2
