// Filters: what they count, what they refuse, what they say a power cut leaves.

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "sim/storage/counting.h"
#include "sim/storage/faults.h"
#include "sim/storage/filtered_files.h"
#include "sim/storage/memory.h"
#include "sim/storage/power_cut.h"
#include "sim/world/world.h"

namespace sim::storage {
namespace {

class FiltersTest : public ::testing::Test {
 protected:
  void write(Storage& file, std::uint64_t at, char value, std::size_t length = 512) {
    const std::string text(length, value);
    EXPECT_TRUE(run(world_, file.write(at, std::as_bytes(std::span(text)))).ok());
  }
  void flush(Storage& file) { EXPECT_TRUE(run(world_, file.flush()).ok()); }
  int number(Task<Result<>> task) {
    const Result<> result = run(world_, std::move(task));
    return result.ok() ? 0 : result.error().number;
  }
  // The first byte of every sector, '.' for a zero.
  std::string sectors(Storage& file) {
    std::string text(file.size(), '\0');
    EXPECT_TRUE(run(world_, file.read(0, std::as_writable_bytes(std::span(text)))).ok());
    std::string firsts;
    for (std::size_t at = 0; at < text.size(); at += 512)
      firsts += text[at] == '\0' ? '.' : text[at];
    return firsts;
  }
  std::string after(PowerCut& file, const PowerCut::Kept& kept) {
    const auto found = run(world_, file.after_cut(kept));
    EXPECT_TRUE(found.ok());
    return sectors(**found);
  }

  World world_{1};
  std::shared_ptr<MemoryFile> memory_ = std::make_shared<MemoryFile>();
  std::vector<std::byte> sector_ = std::vector<std::byte>(512, std::byte{'x'});
};

TEST_F(FiltersTest, CountsRequestsAndBytes) {
  Counting file(memory_);
  write(file, 0, 'a', 1024);
  EXPECT_EQ(number(file.write_zeroes(512, 1024, true)), 0);
  EXPECT_EQ(number(file.discard(0, 512)), 0);
  EXPECT_EQ(number(file.truncate(4096)), 0);
  flush(file);
  EXPECT_EQ(sectors(file), "........");
  EXPECT_EQ(file.counts(), (Counts{.reads = 1,
                                   .read_bytes = 4096,
                                   .writes = 1,
                                   .written_bytes = 1024,
                                   .zeroes = 1,
                                   .zeroed_bytes = 1024,
                                   .discards = 1,
                                   .discarded_bytes = 512,
                                   .flushes = 1,
                                   .truncates = 1}));
}

TEST_F(FiltersTest, TheNthRequestFailsOnceAndChangesNothing) {
  auto plan = std::make_shared<FaultPlan>();
  Faults file(memory_, plan);
  write(file, 0, 'a', 1024);
  plan->add({.operation = Operation::write, .nth = 2, .number = EIO});
  write(file, 0, 'b');
  EXPECT_EQ(number(file.write(512, sector_)), EIO);
  EXPECT_EQ(sectors(file), "ba");
  write(file, 512, 'c');
  EXPECT_EQ(sectors(file), "bc");
  EXPECT_EQ(plan->met(), 1U);
  EXPECT_EQ(plan->seen(Operation::write), 4U);
}

TEST_F(FiltersTest, ALastingFaultFailsFromThenOn) {
  auto plan = std::make_shared<FaultPlan>();
  Faults file(memory_, plan), other(memory_, plan);
  plan->add({.operation = Operation::flush, .nth = 2, .number = ENOSPC, .lasting = true});
  flush(file);
  EXPECT_EQ(number(other.flush()), ENOSPC);
  EXPECT_EQ(number(file.flush()), ENOSPC);
  plan->clear();
  flush(file);
}

TEST_F(FiltersTest, AFullFileSystemRefusesGrowthOnly) {
  auto plan = std::make_shared<FaultPlan>();
  Faults file(memory_, plan);
  write(file, 0, 'a', 1024);
  plan->add({.operation = Operation::resize, .nth = 1, .number = ENOSPC, .lasting = true});
  write(file, 512, 'b');
  EXPECT_EQ(number(file.write(1024, sector_)), ENOSPC);
  EXPECT_EQ(number(file.write_zeroes(1000, 100, false)), ENOSPC);
  EXPECT_EQ(number(file.truncate(4096)), ENOSPC);
  EXPECT_EQ(sectors(file), "ab");
}

TEST_F(FiltersTest, APartialFaultStoresTheFirstHalf) {
  auto plan = std::make_shared<FaultPlan>();
  Faults file(memory_, plan);
  write(file, 0, 'a', 2048);
  plan->add({.operation = Operation::write, .partial = true});
  EXPECT_EQ(number(file.write_zeroes(0, 1536, false)), EIO);
  EXPECT_EQ(sectors(file), ".aaa");
}

TEST_F(FiltersTest, WhatWasFlushedSurvivesAndAnySubsetOfTheRest) {
  write(*memory_, 0, 'a', 2048);
  PowerCut file(memory_);
  write(file, 512, 'b');
  flush(file);
  write(file, 0, 'c');
  write(file, 2048, 'd');
  write(file, 0, 'e');
  EXPECT_EQ(file.unflushed(), 3U);
  EXPECT_EQ(sectors(file), "ebaad");
  EXPECT_EQ(after(file, [](std::size_t) { return false; }), "abaa");
  EXPECT_EQ(after(file, [](std::size_t i) { return i == 0; }), "cbaa");
  EXPECT_EQ(after(file, [](std::size_t i) { return i == 1; }), "abaad");
  EXPECT_EQ(after(file, [](std::size_t i) { return i != 1; }), "ebaa");
  EXPECT_EQ(after(file, [](std::size_t) { return true; }), "ebaad");
  flush(file);
  EXPECT_EQ(after(file, [](std::size_t) { return false; }), "ebaad");
}

TEST_F(FiltersTest, ALengthThatWasNotFlushedMayBeLost) {
  PowerCut file(memory_);
  write(file, 0, 'a', 1024);
  flush(file);
  EXPECT_EQ(number(file.truncate(512)), 0);
  EXPECT_EQ(number(file.truncate(2048)), 0);
  EXPECT_EQ(number(file.discard(0, 512)), 0);
  EXPECT_EQ(after(file, [](std::size_t) { return false; }), "aa");
  EXPECT_EQ(after(file, [](std::size_t i) { return i == 0; }), "a");
  EXPECT_EQ(after(file, [](std::size_t i) { return i == 1; }), "aa..");
  EXPECT_EQ(after(file, [](std::size_t i) { return i == 2; }), ".a");
  EXPECT_EQ(after(file, [](std::size_t) { return true; }), "....");
}

TEST_F(FiltersTest, AWriteMayBeTornAtSectors) {
  PowerCut file(memory_);
  write(file, 0, 'a', 1024);
  flush(file);
  write(file, 0, 'b', 1024);
  Rng rng(7);
  std::set<std::string> found;
  for (int i = 0; i < 100; ++i) {
    const auto left = run(world_, file.after_cut(rng));
    ASSERT_TRUE(left.ok());
    found.insert(sectors(**left));
  }
  EXPECT_EQ(found, (std::set<std::string>{"aa", "ab", "ba", "bb"}));
}

TEST_F(FiltersTest, ACutChangesTheFileItselfAndTheSeedSaysHow) {
  std::set<std::string> found;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    std::string first;
    for (int again = 0; again < 2; ++again) {
      memory_ = std::make_shared<MemoryFile>();
      PowerCut file(memory_);
      write(file, 0, 'a', 1024);
      flush(file);
      write(file, 512, 'b');
      write(file, 1024, 'c');
      Rng rng(seed);
      EXPECT_EQ(number(file.cut(rng)), 0);
      EXPECT_EQ(file.unflushed(), 0U);
      const std::string now = sectors(*memory_);
      EXPECT_EQ(after(file, [](std::size_t) { return true; }), now);
      if (again == 0)
        first = now;
      else
        EXPECT_EQ(now, first);
    }
    found.insert(first);
  }
  EXPECT_EQ(found, (std::set<std::string>{"aa", "ab", "aac", "abc"}));
}

TEST_F(FiltersTest, AnObserverSeesWhatAFlushIsAboutToKeep) {
  PowerCut file(memory_);
  std::vector<std::size_t> seen;
  file.before_flush([&] { seen.push_back(file.unflushed()); });
  flush(file);
  write(file, 0, 'a');
  write(file, 0, 'b');
  flush(file);
  EXPECT_EQ(seen, (std::vector<std::size_t>{0, 2}));
}

TEST_F(FiltersTest, AFileSystemCanPutFiltersBeforeItsFiles) {
  MemoryFiles memory;
  auto plan = std::make_shared<FaultPlan>();
  FilteredFiles files(memory, [&](const std::string& path, std::shared_ptr<Storage> file) {
    return path == "/a" ? std::make_shared<Faults>(std::move(file), plan) : std::move(file);
  });
  auto a = files.create("/a");
  auto b = files.create("/b");
  ASSERT_TRUE(a.ok() && b.ok());
  plan->add({.operation = Operation::write, .lasting = true});
  write(**b, 0, 'b');
  EXPECT_EQ(number((*a)->write(0, sector_)), EIO);
  auto again = files.open("/a", Access::read_write);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(number((*again)->write(0, sector_)), EIO);
  EXPECT_EQ(files.list("/").size(), 2U);
  EXPECT_TRUE(files.rename("/b", "/c").ok() && files.remove("/c").ok());
  EXPECT_FALSE(files.exists("/c"));
  EXPECT_EQ(files.canonical("/a"), Result<std::string>("/a"));
}

}  // namespace
}  // namespace sim::storage
