// Images in chains, under concurrency and under failing storage: the guest's bytes are those of a
// flat vector, and qemu-img finds nothing to complain about.

#include <gtest/gtest.h>

#include "sim/qcow2/create.h"
#include "sim/qcow2/image.h"
#include "sim/qcow2/qemu_tools.h"

namespace sim::qcow2 {
namespace {

// The image below as a backing.
class ImageBacking final : public Backing {
 public:
  explicit ImageBacking(Image& image) : image_(image) {}
  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override {
    const std::uint64_t present =
        offset < size() ? std::min<std::uint64_t>(into.size(), size() - offset) : 0;
    std::ranges::fill(into.subspan(present), std::byte{0});
    if (present == 0) co_return ok();
    co_return co_await image_.read({offset}, into.first(present));
  }
  std::uint64_t size() const override { return image_.size(); }
  Task<Result<bool>> reads_as_zero(std::uint64_t offset, std::uint64_t length) override {
    while (length > 0 && offset < size()) {
      CO_TRY(const Extent extent,
             co_await image_.status({offset}, std::min(length, size() - offset)));
      if (extent.kind != Extent::Kind::zero) co_return false;
      offset += extent.length;
      length -= extent.length;
    }
    co_return true;
  }

 private:
  Image& image_;
};

// Every call waits a step first, so that requests overtake each other.
class Yielding final : public storage::Filter {
 public:
  Yielding(std::shared_ptr<storage::Storage> next, World& world)
      : Filter(std::move(next)), world_(world) {}
  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override {
    co_await world_.scheduler.yield();
    co_return co_await next().read(offset, into);
  }
  Task<Result<>> write(std::uint64_t offset, Bytes from) override {
    co_await world_.scheduler.yield();
    co_return co_await next().write(offset, from);
  }
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override {
    co_await world_.scheduler.yield();
    co_return co_await next().write_zeroes(offset, length, unmap);
  }
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length) override {
    co_await world_.scheduler.yield();
    co_return co_await next().discard(offset, length);
  }
  Task<Result<>> flush() override {
    co_await world_.scheduler.yield();
    co_return co_await next().flush();
  }

 private:
  World& world_;
};

// Holds the next read or write until released.
class Holding final : public storage::Filter {
 public:
  Holding(std::shared_ptr<storage::Storage> next, World& world)
      : Filter(std::move(next)), waiting(world.scheduler) {}
  bool hold = false;
  WaitQueue waiting;
  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override {
    if (std::exchange(hold, false)) co_await waiting.wait();
    co_return co_await next().read(offset, into);
  }
  Task<Result<>> write(std::uint64_t offset, Bytes from) override {
    if (std::exchange(hold, false)) co_await waiting.wait();
    co_return co_await next().write(offset, from);
  }
};

// The n-th change from now on and all that follow find no space.
class Full final : public storage::Filter {
 public:
  using Filter::Filter;
  std::uint64_t left = UINT64_MAX;
  Task<Result<>> write(std::uint64_t offset, Bytes from) override {
    if (!admit()) co_return os_error(ENOSPC);
    co_return co_await next().write(offset, from);
  }
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override {
    if (!admit()) co_return os_error(ENOSPC);
    co_return co_await next().write_zeroes(offset, length, unmap);
  }

 private:
  bool admit() {
    if (left == 0) return false;
    --left;
    return true;
  }
};

class ChainTest : public testing::WithQemu {
 protected:
  std::shared_ptr<storage::MemoryFile> make(CreateOptions options) {
    auto file = std::make_shared<storage::MemoryFile>();
    EXPECT_TRUE(run(world_, create(*file, std::move(options))).ok());
    return file;
  }
  std::unique_ptr<Image> open(std::shared_ptr<storage::Storage> file, bool writable) {
    auto image = run(world_, Image::open(world_, std::move(file), writable));
    EXPECT_TRUE(image.ok()) << image.error().desc;
    return *std::move(image);
  }
  std::vector<std::byte> view(Image& image) {
    std::vector<std::byte> bytes(image.size());
    EXPECT_TRUE(run(world_, image.read({0}, bytes)).ok());
    return bytes;
  }
  void put(const std::string& name, Bytes bytes) {
    std::ofstream out(directory_ / name, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()),
              static_cast<std::streamsize>(bytes.size()));
  }

  // A random request, on the image and on the vector.
  Task<Result<>> random_request(Rng& rng, Image& image, std::vector<std::byte>& model,
                                std::uint64_t first, std::uint64_t end) {
    const std::uint64_t at = first + rng.below(end - first);
    const std::uint64_t length = 1 + rng.below(std::min<std::uint64_t>(end - at, 150000));
    const auto from = model.begin() + static_cast<std::ptrdiff_t>(at);
    const std::uint64_t draw = rng.below(10);
    if (draw < 6) {
      const std::vector<std::byte> data(length, static_cast<std::byte>(rng.below(256)));
      std::ranges::copy(data, from);
      co_return co_await image.write({at}, data);
    }
    if (draw < 8) {
      std::fill_n(from, length, std::byte{0});
      co_return co_await image.write_zeroes({at}, length, rng.chance({1, 2}));
    }
    if (draw < 9) {  // whole clusters only, others keep what they hold
      const std::uint64_t cluster = image.cluster_size();
      const std::uint64_t begin = align_up(at, cluster);
      const std::uint64_t stop =
          at + length == image.size() ? at + length : align_down(at + length, cluster);
      for (std::uint64_t i = begin; i < stop; ++i) model[i] = std::byte{0};
      co_return co_await image.discard({at}, length);
    }
    std::vector<std::byte> got(length);
    const std::vector<std::byte> expected(from, from + static_cast<std::ptrdiff_t>(length));
    CO_TRY_OK(co_await image.read({at}, got));
    EXPECT_EQ(got, expected);
    co_return ok();
  }

  Task<void> worker(Rng rng, Image& image, std::vector<std::byte>& model, std::uint64_t first,
                    std::uint64_t end, int& running) {
    for (int i = 0; i < 25; ++i) {
      const auto done = co_await random_request(rng, image, model, first, end);
      EXPECT_TRUE(done.ok()) << done.error().desc;
    }
    --running;
  }
};

TEST_F(ChainTest, RandomChainsReadLikeAFlatVector) {
  Rng rng(7);
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    std::vector<std::shared_ptr<storage::MemoryFile>> files;
    std::vector<std::unique_ptr<Image>> images;
    std::vector<std::unique_ptr<ImageBacking>> backings;
    std::vector<std::byte> model;
    const std::uint64_t depth = 1 + rng.below(4);
    for (std::uint64_t layer = 0; layer < depth; ++layer) {
      const std::uint64_t size = (1 + rng.below(4000)) * 512;
      const bool based = layer > 0;
      files.push_back(make({.size = size,
                            .cluster_bits = std::array{9U, 12U, 16U}[rng.below(3)],
                            .backing_file = based ? "layer" + std::to_string(layer - 1) : "",
                            .backing_format = based ? "qcow2" : ""}));
      images.push_back(open(files.back(), true));
      if (based) {
        backings.push_back(std::make_unique<ImageBacking>(*images[layer - 1]));
        images.back()->set_backing(backings.back().get());
      }
      model.resize(size);  // a shorter layer hides what is beyond, a longer one reads zeroes there
      for (int i = 0; i < 25; ++i)
        ASSERT_TRUE(run(world_, random_request(rng, *images.back(), model, 0, size)).ok());
      ASSERT_EQ(view(*images.back()), model);
      ASSERT_TRUE(run(world_, images.back()->close()).ok());
      testing::save(*files.back(), directory_ / ("layer" + std::to_string(layer)));
      must("qemu-img check -q -f qcow2 layer" + std::to_string(layer));
    }
    put("expected", model);
    must("qemu-img compare -f qcow2 -F raw layer" + std::to_string(depth - 1) + " expected");
    auto again = open(files.back(), false);
    if (depth > 1) again->set_backing(backings.back().get());
    EXPECT_EQ(view(*again), model);
  }
}

// Workers have disjoint ranges, but share clusters at the edges.
TEST_F(ChainTest, ConcurrentRequestsDoNotDisturbEachOther) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Rng rng(seed);
    if (seed % 2 == 1) world_.scheduler.explore(rng.fork());
    const std::uint64_t size = (200 + rng.below(2000)) * 512;
    const std::uint32_t bits = std::array{9U, 12U, 16U}[rng.below(3)];
    auto base_file =
        make({.size = size, .cluster_bits = 16, .backing_file = "", .backing_format = ""});
    auto base = open(base_file, true);
    const std::vector<std::byte> below(size, std::byte{0xbb});
    ASSERT_TRUE(run(world_, base->write({0}, below)).ok());
    ASSERT_TRUE(run(world_, base->close()).ok());
    ImageBacking backing(*base);

    auto file = make(
        {.size = size, .cluster_bits = bits, .backing_file = "base", .backing_format = "qcow2"});
    auto image = open(std::make_shared<Yielding>(file, world_), true);
    image->set_backing(&backing);
    std::vector<std::byte> model = below;
    int running = 5;
    for (std::uint64_t i = 0; i < 5; ++i)
      world_.scheduler.spawn(
          worker(rng.fork(), *image, model, size * i / 5, size * (i + 1) / 5, running));
    while (running > 0) ASSERT_TRUE(world_.scheduler.step()) << "deadlock";
    ASSERT_EQ(view(*image), model);
    ASSERT_TRUE(run(world_, image->close()).ok());
    testing::save(*file, directory_ / "top");
    testing::save(*base_file, directory_ / "base");
    must("qemu-img check -q -f qcow2 top");
    put("expected", model);
    must("qemu-img compare -f qcow2 -F raw top expected");
  }
}

TEST_F(ChainTest, TwoWritersOfOneClusterAllocateItOnce) {
  auto file = make({.size = 1_MiB, .cluster_bits = 16, .backing_file = "", .backing_format = ""});
  auto image = open(std::make_shared<Yielding>(file, world_), true);
  int running = 16;
  static constexpr auto kWriter = [](Image& target, std::uint64_t index, int& left) -> Task<void> {
    const std::vector<std::byte> data(4096, static_cast<std::byte>(index + 1));
    const auto done = co_await target.write({index * 4096}, data);
    EXPECT_TRUE(done.ok());
    --left;
  };
  for (std::uint64_t i = 0; i < 16; ++i) world_.scheduler.spawn(kWriter(*image, i, running));
  while (running > 0) ASSERT_TRUE(world_.scheduler.step());
  const auto bytes = view(*image);
  for (std::uint64_t i = 0; i < 65536; ++i)
    ASSERT_EQ(bytes[i], static_cast<std::byte>(i / 4096 + 1));
  ASSERT_TRUE(run(world_, image->close()).ok());
  EXPECT_EQ(file->size(), 0x60000U);  // header, two refcount clusters, L1, L2, one of data
}

// A cluster that is being read or overwritten is not freed and given to someone else meanwhile.
TEST_F(ChainTest, ClustersInUseAreNotTakenAway) {
  static constexpr auto kFinish = [](Task<Result<>> request, int& left) -> Task<void> {
    EXPECT_TRUE((co_await std::move(request)).ok());
    --left;
  };
  const std::vector<std::byte> one(64_KiB, std::byte{1}), two(64_KiB, std::byte{2});
  const std::vector<std::byte> three(64_KiB, std::byte{3}), zero(64_KiB);
  for (const bool reading : {false, true})
    for (const bool discarding : {false, true}) {
      auto file = std::make_shared<Holding>(
          make({.size = 1_MiB, .cluster_bits = 16, .backing_file = "", .backing_format = ""}),
          world_);
      auto image = open(file, true);
      ASSERT_TRUE(run(world_, image->write({0}, one)).ok());
      std::vector<std::byte> got(64_KiB);
      int left = 3;
      file->hold = true;
      world_.scheduler.spawn(
          kFinish(reading ? image->read({0}, got) : image->write({0}, two), left));
      world_.scheduler.spawn(kFinish(
          discarding ? image->discard({0}, 64_KiB) : image->write_zeroes({0}, 64_KiB, true), left));
      world_.scheduler.spawn(kFinish(image->write({512_KiB}, three), left));
      while (world_.scheduler.step()) {
      }
      EXPECT_EQ(left, 2) << "only the last request may pass the held one";
      file->waiting.wake_all();
      while (world_.scheduler.step()) {
      }
      EXPECT_EQ(left, 0);
      if (reading) EXPECT_EQ(got, one);
      ASSERT_TRUE(run(world_, image->read({0}, got)).ok());
      EXPECT_EQ(got, zero);
      ASSERT_TRUE(run(world_, image->read({512_KiB}, got)).ok());
      EXPECT_EQ(got, three);
    }
}

// Space runs out at every change in turn.  What was acknowledged and flushed before stays, and
// nothing worse than a leak remains; with space again, everything works.
TEST_F(ChainTest, AFullDiskLeavesAReadableImage) {
  const std::vector<std::byte> first(100000, std::byte{1});
  const std::vector<std::byte> second(300000, std::byte{2});
  for (std::uint64_t left = 0; left < 14; ++left) {
    SCOPED_TRACE("changes left: " + std::to_string(left));
    auto file = make({.size = 1_MiB, .cluster_bits = 12, .backing_file = "", .backing_format = ""});
    auto full = std::make_shared<Full>(file);
    auto image = open(full, true);
    ASSERT_TRUE(run(world_, image->write({0}, first)).ok());
    ASSERT_TRUE(run(world_, image->flush()).ok());
    full->left = left;
    const bool written = run(world_, image->write({200001}, second)).ok() &&
                         run(world_, image->discard({0}, 8192)).ok();
    const bool flushed = run(world_, image->flush()).ok();
    testing::save(*file, directory_ / "cut");
    const int status =
        testing::run_command("qemu-img check -q -f qcow2 " + (directory_ / "cut")).status;
    EXPECT_TRUE(status == 0 || status == 3) << status;
    std::vector<std::byte> got(90000);
    ASSERT_TRUE(run(world_, image->read({8192}, got)).ok());
    EXPECT_EQ(got, std::vector<std::byte>(90000, std::byte{1}));

    full->left = UINT64_MAX;
    ASSERT_TRUE(run(world_, image->write({200001}, second)).ok());
    ASSERT_TRUE(run(world_, image->close()).ok()) << written << flushed;
    testing::save(*file, directory_ / "healed");
    const int healed =
        testing::run_command("qemu-img check -q -f qcow2 " + (directory_ / "healed")).status;
    EXPECT_TRUE(healed == 0 || healed == 3) << healed;
    auto again = open(file, false);
    got.resize(300000);
    ASSERT_TRUE(run(world_, again->read({200001}, got)).ok());
    EXPECT_EQ(got, second);
  }
}

TEST_F(ChainTest, StatusTellsWhatTheImageItselfHas) {
  auto image = open(
      make({.size = 1_GiB, .cluster_bits = 16, .backing_file = "", .backing_format = ""}), true);
  const std::vector<std::byte> data(128_KiB, std::byte{1});
  ASSERT_TRUE(run(world_, image->write({64_KiB}, data)).ok());
  ASSERT_TRUE(run(world_, image->write_zeroes({192_KiB}, 64_KiB, false)).ok());
  const auto expect = [&](std::uint64_t at, Extent::Kind kind, std::uint64_t length,
                          std::uint64_t host) {
    const auto extent = run(world_, image->status({at}, image->size() - at));
    ASSERT_TRUE(extent.ok());
    EXPECT_EQ(extent->kind, kind);
    EXPECT_EQ(extent->length, length);
    EXPECT_EQ(extent->host.value, host);
  };
  expect(0, Extent::Kind::absent, 64_KiB, 0);
  expect(64_KiB, Extent::Kind::data, 128_KiB, 0x50000);
  expect(100_KiB, Extent::Kind::data, 92_KiB, 0x59000);
  expect(192_KiB, Extent::Kind::zero, 64_KiB, 0);
  expect(256_KiB, Extent::Kind::absent, 1_GiB - 256_KiB, 0);
  EXPECT_EQ(run(world_, image->status({1_GiB}, 1)).error().number, EIO);
}

TEST_F(ChainTest, TheBackingNameChangesAsQemuImgRebaseChangesIt) {
  must("qemu-img create -q -f qcow2 -u -b one -F raw theirs 1M");
  auto file =
      make({.size = 1_MiB, .cluster_bits = 16, .backing_file = "one", .backing_format = "raw"});
  for (const auto& [name, format] : {std::pair{"another", "qcow2"}, {"x", "raw"}, {"", ""}}) {
    auto image = open(file, true);
    ASSERT_TRUE(run(world_, image->change_backing_name(name, format)).ok());
    ASSERT_TRUE(run(world_, image->close()).ok());
    must("qemu-img rebase -u -f qcow2 -b '" + std::string(name) + "' " +
         (*format != '\0' ? "-F " + std::string(format) : "") + " theirs");
    EXPECT_EQ(testing::difference(*file, directory_ / "theirs"), "");
    EXPECT_EQ(open(file, false)->header().backing_file, name);
    EXPECT_EQ(open(file, false)->header().backing_format, format);
  }
}

}  // namespace
}  // namespace sim::qcow2
