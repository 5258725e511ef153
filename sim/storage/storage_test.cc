// The same demands on files in memory and on real files; what a file system promises is POSIX's.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "sim/storage/file.h"
#include "sim/storage/memory.h"
#include "sim/world/world.h"

namespace sim::storage {
namespace {

std::vector<std::byte> bytes(std::size_t length, int value) {
  return std::vector<std::byte>(length, static_cast<std::byte>(value));
}

struct InMemory {
  MemoryFiles files;
  std::string directory = "/understudy";
};

struct OnDisk {
  OnDisk() {
    std::string name = (std::filesystem::temp_directory_path() / "storage-XXXXXX").string();
    directory = ::mkdtemp(name.data());
  }
  ~OnDisk() { std::filesystem::remove_all(directory); }
  RealFiles files;
  std::string directory;
};

template <class Place>
class StorageTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return place_.directory + "/" + name; }
  std::shared_ptr<Storage> make(const std::string& name = "file") {
    auto file = place_.files.create(path(name));
    EXPECT_TRUE(file.ok());
    return *file;
  }
  void write(Storage& file, std::uint64_t offset, const std::vector<std::byte>& from) {
    EXPECT_TRUE(run(world_, file.write(offset, from)).ok());
  }
  void zero(Storage& file, std::uint64_t offset, std::uint64_t length, bool unmap) {
    EXPECT_TRUE(run(world_, file.write_zeroes(offset, length, unmap)).ok());
  }
  std::vector<std::byte> read(Storage& file, std::uint64_t offset, std::size_t length) {
    auto into = bytes(length, 0xee);
    EXPECT_TRUE(run(world_, file.read(offset, into)).ok());
    return into;
  }
  int number(const Result<>& result) { return result.ok() ? 0 : result.error().number; }

  World world_{1};
  Place place_;
};

using Places = ::testing::Types<InMemory, OnDisk>;
TYPED_TEST_SUITE(StorageTest, Places);

TYPED_TEST(StorageTest, AGapReadsAsZeroesAndSoDoesWhatLiesBeyondTheEnd) {
  auto file = this->make();
  this->write(*file, 10000, bytes(100, 7));
  EXPECT_EQ(file->size(), 10100U);
  auto expected = bytes(10200, 0);
  std::fill_n(expected.begin() + 10000, 100, std::byte{7});
  EXPECT_EQ(this->read(*file, 0, 10200), expected);
  EXPECT_EQ(this->read(*file, 1 << 30, 10), bytes(10, 0));
}

TYPED_TEST(StorageTest, AnEmptyWriteDoesNotGrowTheFile) {
  auto file = this->make();
  this->write(*file, 100, {});
  EXPECT_EQ(file->size(), 0U);
}

TYPED_TEST(StorageTest, WrittenZeroesAreDataWrittenHolesAreNot) {
  auto file = this->make();
  this->write(*file, 64_KiB, bytes(64_KiB, 0));
  this->write(*file, 192_KiB, bytes(64_KiB, 1));
  const auto check = [&](std::uint64_t at, std::uint64_t length, bool data) {
    const Extent extent = file->extent_at(at);
    EXPECT_EQ(extent.length, length) << at;
    EXPECT_EQ(extent.data, data) << at;
  };
  check(0, 64_KiB, false);
  check(64_KiB, 64_KiB, true);
  check(68_KiB, 60_KiB, true);
  check(128_KiB, 64_KiB, false);
  check(192_KiB, 64_KiB, true);
  EXPECT_EQ(file->allocated(), 128_KiB);
  this->zero(*file, 192_KiB, 64_KiB, true);
  check(128_KiB, 128_KiB, false);
  EXPECT_EQ(file->allocated(), 64_KiB);
}

TYPED_TEST(StorageTest, ZeroesGrowTheFileAndZeroItsEdges) {
  auto file = this->make();
  this->write(*file, 0, bytes(20000, 5));
  for (const bool unmap : {false, true}) {
    this->zero(*file, 5000, 10000, unmap);
    auto expected = bytes(20000, 5);
    std::fill_n(expected.begin() + 5000, 10000, std::byte{0});
    EXPECT_EQ(this->read(*file, 0, 20000), expected);
    this->write(*file, 5000, bytes(10000, 5));
  }
  this->zero(*file, 19000, 5000, false);
  EXPECT_EQ(file->size(), 24000U);
  EXPECT_EQ(this->read(*file, 18999, 2), (std::vector{std::byte{5}, std::byte{0}}));
  this->zero(*file, 100, 100, true);  // within a page
  EXPECT_EQ(this->read(*file, 99, 1), bytes(1, 5));
  EXPECT_EQ(this->read(*file, 100, 100), bytes(100, 0));
  EXPECT_EQ(this->read(*file, 200, 1), bytes(1, 5));
}

TYPED_TEST(StorageTest, DiscardNeverGrowsTheFile) {
  auto file = this->make();
  this->write(*file, 0, bytes(10000, 5));
  EXPECT_TRUE(run(this->world_, file->discard(8192, 1_MiB)).ok());
  EXPECT_TRUE(run(this->world_, file->discard(2_MiB, 1_MiB)).ok());
  EXPECT_EQ(file->size(), 10000U);
  EXPECT_EQ(this->read(*file, 8191, 3), (std::vector{std::byte{5}, std::byte{0}, std::byte{0}}));
}

TYPED_TEST(StorageTest, WhatATruncationCutOffDoesNotComeBack) {
  auto file = this->make();
  this->write(*file, 0, bytes(10000, 5));
  EXPECT_TRUE(run(this->world_, file->truncate(5000)).ok());
  EXPECT_EQ(file->size(), 5000U);
  EXPECT_TRUE(run(this->world_, file->truncate(10000)).ok());
  EXPECT_EQ(this->read(*file, 4999, 1), bytes(1, 5));
  EXPECT_EQ(this->read(*file, 5000, 5000), bytes(5000, 0));
  EXPECT_TRUE(run(this->world_, file->flush()).ok());
}

TYPED_TEST(StorageTest, OffsetsThatNoFileCanHaveAreRefused) {
  auto file = this->make();
  const auto one = bytes(1, 1);
  EXPECT_EQ(this->number(run(this->world_, file->write(UINT64_MAX, one))), EFBIG);
  EXPECT_EQ(this->number(run(this->world_, file->truncate(UINT64_MAX))), EFBIG);
  EXPECT_EQ(this->number(run(this->world_, file->write_zeroes(1, UINT64_MAX, false))), EFBIG);
  EXPECT_EQ(this->read(*file, UINT64_MAX - 1, 1), bytes(1, 0));
  EXPECT_EQ(file->size(), 0U);
}

TYPED_TEST(StorageTest, AReadOnlyHandleRefusesEveryChange) {
  this->write(*this->make(), 0, bytes(5000, 5));
  auto file = this->place_.files.open(this->path("file"), Access::read_only);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(this->read(**file, 0, 5000), bytes(5000, 5));
  const auto one = bytes(1, 1);
  EXPECT_EQ(this->number(run(this->world_, (*file)->write(0, one))), EBADF);
  EXPECT_EQ(this->number(run(this->world_, (*file)->write_zeroes(0, 4096, true))), EBADF);
  EXPECT_EQ(this->number(run(this->world_, (*file)->discard(0, 4096))), EBADF);
  EXPECT_EQ(this->read(**file, 0, 5000), bytes(5000, 5));
}

TYPED_TEST(StorageTest, NamesAreFoundListedAndRemoved) {
  auto& files = this->place_.files;
  this->make("b");
  this->make("a");
  EXPECT_EQ(files.list(this->place_.directory), (std::vector{this->path("a"), this->path("b")}));
  EXPECT_TRUE(files.exists(this->path("a")));
  EXPECT_FALSE(files.exists(this->place_.directory));
  EXPECT_EQ(files.open(this->path("c"), Access::read_only).error(), os_error(ENOENT));
  EXPECT_EQ(files.open(this->place_.directory, Access::read_only).error(), os_error(EISDIR));
  EXPECT_EQ(files.create(this->place_.directory).error(), os_error(EISDIR));
  EXPECT_TRUE(files.remove(this->path("a")).ok());
  EXPECT_EQ(files.remove(this->path("a")).error(), os_error(ENOENT));
  EXPECT_EQ(files.list(this->place_.directory), (std::vector{this->path("b")}));
}

TYPED_TEST(StorageTest, HandlesShareTheFileAndOutliveItsName) {
  auto one = this->make();
  auto two = this->place_.files.open(this->path("file"), Access::read_write);
  ASSERT_TRUE(two.ok());
  this->write(*one, 0, bytes(10, 3));
  EXPECT_TRUE(this->place_.files.remove(this->path("file")).ok());
  EXPECT_EQ(this->read(**two, 0, 10), bytes(10, 3));
}

TYPED_TEST(StorageTest, CreatingAFileThatExistsEmptiesIt) {
  auto file = this->make();
  this->write(*file, 0, bytes(5000, 3));
  this->make();
  EXPECT_EQ(file->size(), 0U);
  this->write(*file, 5000, bytes(1, 1));
  EXPECT_EQ(this->read(*file, 0, 5000), bytes(5000, 0));
}

TYPED_TEST(StorageTest, ANewFileIsMadeWhereNothingIs) {
  const auto made = this->place_.files.create_new(this->path("file"), this->path("nothing"));
  ASSERT_TRUE(made.ok());
  this->write(**made, 0, bytes(10, 1));
  const auto again = this->place_.files.create_new(this->path("file"), this->path("nothing"));
  EXPECT_EQ(again.error().number, EEXIST);
  EXPECT_EQ((*made)->size(), 10U);
}

TEST(RealFiles, ANewFileMayBeUsedByWhomItsModelMay) {
  namespace fs = std::filesystem;
  OnDisk place;
  ASSERT_TRUE(place.files.create(place.directory + "/model").ok());
  fs::permissions(place.directory + "/model", fs::perms::owner_read | fs::perms::others_write);
  ASSERT_TRUE(place.files.create_new(place.directory + "/new", place.directory + "/model").ok());
  EXPECT_EQ(fs::status(place.directory + "/new").permissions(),
            fs::perms::owner_read | fs::perms::others_write);
  fs::create_symlink("elsewhere", place.directory + "/link");
  EXPECT_EQ(place.files.create_new(place.directory + "/link", "").error().number, EEXIST);
}

TYPED_TEST(StorageTest, RandomWorkAgreesWithAFlatVector) {
  constexpr std::size_t kSize = 1 << 20;
  Rng rng(4711);
  auto file = this->make();
  std::vector<std::byte> model;
  for (int step = 0; step < 2000; ++step) {
    const std::uint64_t at = rng.below(kSize), length = rng.below(30000);
    switch (rng.below(5)) {
      case 0: {
        const auto from = bytes(length, static_cast<int>(1 + rng.below(255)));
        this->write(*file, at, from);
        if (length > 0 && model.size() < at + length) model.resize(at + length);
        std::ranges::copy(from, model.begin() + static_cast<std::ptrdiff_t>(length ? at : 0));
        break;
      }
      case 1:
        this->zero(*file, at, length, rng.chance({1, 2}));
        if (length > 0 && model.size() < at + length) model.resize(at + length);
        if (length > 0)
          std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(at), length, std::byte{0});
        break;
      case 2:
        EXPECT_TRUE(run(this->world_, file->discard(at, length)).ok());
        for (std::uint64_t i = at; i < std::min<std::uint64_t>(at + length, model.size()); ++i)
          model[i] = std::byte{0};
        break;
      case 3:
        if (rng.below(20) == 0) {
          EXPECT_TRUE(run(this->world_, file->truncate(at)).ok());
          model.resize(at);
        }
        break;
      default: {
        auto expected = bytes(length, 0);
        for (std::uint64_t i = 0; i < length && at + i < model.size(); ++i)
          expected[i] = model[at + i];
        ASSERT_EQ(this->read(*file, at, length), expected) << "step " << step;
      }
    }
    ASSERT_EQ(file->size(), model.size());
  }
  EXPECT_EQ(this->read(*file, 0, model.size()), model);
}

TEST(MemoryFiles, NothingIsLeftOverInRecycledPages) {
  World world(1);
  for (int round = 0; round < 3; ++round) {
    MemoryFile file;
    file.write_now(100, bytes(1, 9));
    auto into = bytes(4096, 0xee);
    file.read_now(0, into);
    auto expected = bytes(4096, 0);
    expected[100] = std::byte{9};
    EXPECT_EQ(into, expected);
    file.write_now(0, bytes(64_KiB, 0xff));
  }
}

// Changes a file as write(), write_zeroes(), discard() or truncate() would, and its model.
void change(MemoryFile& file, std::vector<std::byte>& model, Rng& rng) {
  const std::uint64_t at = rng.below(200'000);
  const std::uint64_t length = 1 + rng.below(20'000);
  if (model.size() < at + length) model.resize(at + length);
  const auto from = model.begin() + static_cast<std::ptrdiff_t>(at);
  if (rng.chance({1, 2})) {
    const auto data = bytes(length, static_cast<int>(1 + rng.below(255)));
    file.write_now(at, data);
    std::ranges::copy(data, from);
  } else if (rng.chance({3, 4})) {
    file.write_zeroes_now(at, length);
    std::fill_n(from, length, std::byte{0});
  } else {
    file.truncate_now(at);
    model.resize(at);
  }
}

std::vector<std::byte> content(const MemoryFile& file) {
  auto into = bytes(file.size(), 0xee);
  file.read_now(0, into);
  return into;
}

TEST(MemoryFiles, CopiesDoNotSeeEachOthersChanges) {
  Rng rng(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<std::shared_ptr<MemoryFile>> files = {std::make_shared<MemoryFile>()};
    std::vector<std::vector<std::byte>> models(1);
    for (int step = 0; step < 60; ++step) {
      const std::size_t which = rng.below(files.size());
      if (step % 10 == 9) {
        files.push_back(files[which]->copy());
        models.push_back(models[which]);
        ASSERT_EQ(files.back()->allocated(), files[which]->allocated());
      }
      change(*files[which], models[which], rng);
    }
    for (std::size_t i = 0; i < files.size(); ++i) {
      const std::size_t drop = rng.below(3);
      if (drop == 0) files[i].reset();  // the pages of the others stay
    }
    for (std::size_t i = 0; i < files.size(); ++i)
      if (files[i]) ASSERT_EQ(content(*files[i]), models[i]) << "round " << round << " file " << i;
    for (std::size_t i = 1; i < files.size(); ++i)
      if (files[i] && files[i - 1])
        ASSERT_EQ(files[i]->reads_as(*files[i - 1]), models[i] == models[i - 1]);
  }
}

TEST(MemoryFiles, FilesThatReadTheSame) {
  MemoryFile file, other;
  file.write_now(5000, bytes(3000, 1));
  EXPECT_FALSE(file.reads_as(other));
  const auto copy = file.copy();
  EXPECT_TRUE(copy->reads_as(file));
  file.write_now(1_MiB, bytes(10, 0));  // zeroes are data, and make it longer
  EXPECT_FALSE(copy->reads_as(file));
  copy->truncate_now(file.size());
  EXPECT_TRUE(copy->reads_as(file));
  EXPECT_TRUE(file.reads_as(*copy));
  copy->write_now(7999, bytes(1, 2));
  EXPECT_FALSE(file.reads_as(*copy));
}

TEST(MemoryFiles, WhatIsSeenIsWhatIsRead) {
  Rng rng(8);
  MemoryFile file;
  std::vector<std::byte> model;
  for (int step = 0; step < 300; ++step) {
    change(file, model, rng);
    const std::uint64_t from = rng.below(250'000);
    const std::uint64_t length = rng.below(100'000);
    std::vector<std::byte> seen;
    file.visit_now(from, length, [&](std::uint64_t part, Bytes piece) {
      ASSERT_TRUE(piece.empty() || piece.size() == part);
      seen.insert(seen.end(), piece.begin(), piece.end());
      if (piece.empty()) seen.resize(seen.size() + part);
    });
    auto read = bytes(length, 0xee);
    file.read_now(from, read);
    ASSERT_EQ(seen, read) << "step " << step;
  }
}

TEST(MemoryFiles, ExtentsEndWhereTheKindChanges) {
  Rng rng(9);
  for (int round = 0; round < 30; ++round) {
    MemoryFile file;
    std::vector<bool> data(1000);
    for (int change = 0; change < 12; ++change) {
      const std::uint64_t first = rng.below(data.size());
      const std::uint64_t count = 1 + rng.below(std::min<std::uint64_t>(data.size() - first, 300));
      const bool fill = rng.chance({2, 3});
      if (fill)
        file.write_now(first * 4096, bytes(count * 4096, 1));
      else
        file.discard_now(first * 4096, count * 4096);
      std::fill_n(data.begin() + static_cast<std::ptrdiff_t>(first), count, fill);
    }
    file.truncate_now(data.size() * 4096 - rng.below(4096));
    for (std::uint64_t page = 0; page < data.size(); ++page) {
      std::uint64_t end = page;
      while (end < data.size() && data[end] == data[page]) ++end;
      const Extent extent = file.extent_at(page * 4096 + 10);
      ASSERT_EQ(extent.data, data[page]) << round << " page " << page;
      ASSERT_EQ(extent.length, std::min(end * 4096, file.size()) - (page * 4096 + 10))
          << round << " page " << page;
    }
  }
}

TEST(MemoryFiles, LargeFilesHoldWhatIsWritten) {
  MemoryFile file;
  auto piece = bytes(1_MiB, 0);
  for (std::uint64_t at = 0; at < 100_MiB; at += piece.size()) {
    for (std::size_t i = 0; i < piece.size(); i += 97)
      piece[i] = static_cast<std::byte>((at + i) % 251);
    file.write_now(at + 8, piece);  // not aligned: the source of a page may lie anywhere
    auto back = bytes(piece.size(), 0xee);
    file.read_now(at + 8, back);
    ASSERT_EQ(back, piece) << at;
  }
}

}  // namespace
}  // namespace sim::storage
