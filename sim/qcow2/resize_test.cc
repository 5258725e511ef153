// Resizing against `qemu-img resize`: the same bytes, the same refusals.

#include <array>
#include <filesystem>
#include <utility>

#include "sim/qcow2/image.h"
#include "sim/qcow2/qemu_tools.h"

namespace sim::qcow2 {
namespace {

constexpr std::array kModes = {"off", "metadata", "falloc", "full"};

// A raw backing file.
class RawBacking final : public Backing {
 public:
  explicit RawBacking(const std::string& path) { file_.write_now(0, testing::contents(path)); }
  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override {
    file_.read_now(offset, into);
    co_return ok();
  }
  std::uint64_t size() const override { return file_.size(); }
  Task<Result<bool>> reads_as_zero(std::uint64_t offset, std::uint64_t) override {
    co_return offset >= file_.size();
  }

 private:
  storage::MemoryFile file_;
};

struct Step {
  std::uint64_t size;
  Preallocation preallocation = Preallocation::off;
};

class ResizeTest : public testing::WithQemu {
 protected:
  std::shared_ptr<storage::MemoryFile> load(const std::string& name) {
    auto file = std::make_shared<storage::MemoryFile>();
    file->write_now(0, testing::contents(directory_ / name));
    return file;
  }

  // Runs `prepare`, which makes the image `x` (and perhaps its backing `b` and its data file `d`),
  // and resizes it step by step, ours and theirs.
  void expect_same(const std::string& prepare, const std::vector<Step>& steps) {
    SCOPED_TRACE(prepare);
    must("rm -f x b d; " + prepare);
    std::unique_ptr<RawBacking> backing;
    if (std::filesystem::exists(directory_ / "b"))
      backing = std::make_unique<RawBacking>(directory_ / "b");
    const auto file = load("x");
    std::shared_ptr<storage::MemoryFile> data;
    if (std::filesystem::exists(directory_ / "d")) data = load("d");
    for (const Step& step : steps) {
      const std::string mode = kModes[std::to_underlying(step.preallocation)];
      SCOPED_TRACE(std::to_string(step.size) + " " + mode);
      const testing::Ran theirs =
          testing::run_command("cd " + directory_.path() +
                               " && qemu-img resize -q -f qcow2 --shrink --preallocation=" + mode +
                               " x " + std::to_string(step.size));
      auto opened =
          run(world_, Image::open(world_, file, OpenOptions{.writable = true, .data_file = data}));
      ASSERT_TRUE(opened.ok()) << opened.error().desc;
      Image& image = **opened;
      image.set_backing(backing.get());
      const auto resized = run(world_, image.resize(step.size, step.preallocation));
      EXPECT_EQ(resized.ok() ? "" : "qemu-img: " + resized.error().desc + "\n", theirs.output);
      ASSERT_TRUE(run(world_, image.close()).ok());
      ASSERT_EQ(testing::difference(*file, directory_ / "x"), "");
      if (data) ASSERT_EQ(testing::difference(*data, directory_ / "d"), "");
    }
    must("qemu-img check -q -f qcow2 x");
  }

  static std::string made(const std::string& options, const std::string& commands = "") {
    std::string text = "qemu-img create -q -f qcow2 " + options;
    if (!commands.empty()) text += " && qemu-io -f qcow2 " + commands + " x >io";
    return text;
  }
};

constexpr Preallocation kMetadata = Preallocation::metadata;
constexpr Preallocation kFalloc = Preallocation::falloc;

TEST_F(ResizeTest, GrowingMovesTheL1Table) {
  expect_same(made("x 64M"), {{100_MiB}, {600_MiB}, {2048_GiB}});
  expect_same(made("-o cluster_size=512 x 1M", "-c 'write -P 1 0 100k'"), {{20_MiB}, {8_GiB}});
  expect_same(made("-o compat=0.10 x 64M"), {{600_MiB}});
  expect_same(made("x 0"), {{512}, {1_MiB}});
}

TEST_F(ResizeTest, ShrinkingFreesWhatIsCutOff) {
  expect_same(made("x 64M"), {{1_MiB}, {1_MiB + 512}, {512}});
  expect_same(made("x 4M", "-c 'write -P 1 0 4M'"), {{1_MiB}, {100 * 512}, {5_MiB}});
  expect_same(made("x 2G",
                   "-c 'write -P 1 0 64k' -c 'write -P 2 600M 64k' -c 'write -P 3 1M 64k' "
                   "-c 'write -P 4 1500M 64k' -c 'write -P 5 2M 1M'"),
              {{1400_MiB}, {601_MiB}, {513_MiB}, {2_MiB}});
  expect_same(made("-o cluster_size=512 x 4M", "-c 'write -P 1 0 4M'"), {{1_MiB}, {512}, {2_MiB}});
  expect_same(made("-o cluster_size=512,refcount_bits=64 x 1M", "-c 'write -P 1 0 1M'"),
              {{100 * 512}});
  expect_same("truncate -s 1M b && " + made("-o compat=0.10 -b b -F raw x 4M"), {{1_MiB}});
}

TEST_F(ResizeTest, GrowingPreallocates) {
  for (const Preallocation how : {kMetadata, kFalloc}) {
    expect_same(made("x 1M", "-c 'write -P 1 0 64k'"), {{2_MiB, how}, {1_MiB}, {3_MiB, how}});
    expect_same(made("x 100k", "-c 'write -P 1 0 100k'"), {{110_KiB, how}, {200_KiB, how}});
    expect_same(made("x 100k"), {{110_KiB, how}});
  }
  for (const Preallocation how : {kMetadata, kFalloc}) {
    expect_same(made("-o cluster_size=512 x 100k", "-c 'write -P 1 0 50k'"), {{1_MiB, how}});
    expect_same(made("-o cluster_size=512 x 100000", "-c 'write -P 1 0 64k' -c 'discard 0 32k'"),
                {{1_MiB, how}});
    expect_same(made("x 1M"), {{600_MiB, how}});
  }
}

TEST_F(ResizeTest, ALongerBackingFileStaysHidden) {
  const std::string base =
      "qemu-img create -q -f raw b 3M && qemu-io -f raw -c 'write -P 9 0 3M' "
      "b >io && ";
  const auto over = [&](const std::string& options) {
    return base + made(options + " -b b -F raw x 100k");
  };
  expect_same(over(""), {{110_KiB}, {1_MiB}, {5_MiB}, {70_KiB}, {2_MiB}});
  expect_same(over("-o compat=0.10"), {{110_KiB}, {1_MiB}});
  for (const Preallocation how : {kMetadata, kFalloc})
    expect_same(over("-o cluster_size=4k"), {{110_KiB + 512, how}, {1_MiB, how}});
}

TEST_F(ResizeTest, SubclustersAndDataFiles) {
  for (const Preallocation how : {Preallocation::off, kMetadata, kFalloc}) {
    expect_same(made("-o extended_l2=on x 100k", "-c 'write -P 1 3k 9k' -c 'write -z 70k 4k'"),
                {{111_KiB, how}, {300_KiB, how}});
    expect_same(made("-o data_file=d x 100k", "-c 'write -P 1 0 100k'"),
                {{111_KiB, how}, {1_MiB, how}});
  }
  expect_same(made("-o extended_l2=on x 1M", "-c 'write -P 1 0 1M'"), {{100_KiB}, {2_MiB}});
  expect_same(made("-o data_file=d x 1M", "-c 'write -P 1 0 1M'"), {{100_KiB}, {2_MiB}});
  expect_same(made("-o data_file=d,data_file_raw=on x 1M", "-c 'write -P 1 0 1M'"),
              {{100_KiB}, {2_MiB}});
}

TEST_F(ResizeTest, SnapshotsKeepTheirSize) {
  expect_same(made("x 4M", "-c 'write -P 1 0 4M'") + " && qemu-img snapshot -c one x",
              {{1_MiB}, {2_MiB}, {600_MiB}});
  expect_same(made("-o compat=0.10 x 4M") + " && qemu-img snapshot -c one x", {{1_MiB}, {5_MiB}});
}

TEST_F(ResizeTest, RefusalsHaveQemusWords) {
  expect_same(made("x 1M"), {{2000000}, {std::uint64_t{1} << 52}, {9223372036854775807}});
}

}  // namespace
}  // namespace sim::qcow2
