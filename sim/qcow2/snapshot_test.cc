// Internal snapshots beside qemu-img: the same operations leave the same bytes.

#include "sim/qcow2/snapshot.h"

#include <gtest/gtest.h>

#include <sstream>

#include "sim/qcow2/check.h"
#include "sim/qcow2/create.h"
#include "sim/qcow2/image.h"
#include "sim/qcow2/qemu_tools.h"

namespace sim::qcow2 {
namespace {

class SnapshotTest : public testing::WithQemu {
 protected:
  template <class T>
  T must_run(Task<Result<T>> task) {
    auto result = run(world_, std::move(task));
    if (!result) ADD_FAILURE() << result.error().desc;
    return result ? *std::move(result) : T{};
  }

  std::unique_ptr<Image> open(const std::shared_ptr<storage::MemoryFile>& file) {
    auto image = run(world_, Image::open(world_, file, true));
    if (!image) ADD_FAILURE() << image.error().desc;
    return image ? *std::move(image) : nullptr;
  }

  // The last snapshot of a file on disk: its date is qemu-img's.
  Snapshot last_of(const std::string& path) {
    auto file = std::make_shared<storage::MemoryFile>();
    file->write_now(0, testing::contents(path));
    const Header header = must_run(read_header(*file, false));
    const auto all = must_run(read_snapshots(*file, header));
    return all.empty() ? Snapshot{} : all.back();
  }

  // "c NAME", "a NAME", "d NAME", "w PATTERN AT LENGTH", "z AT LENGTH" of both programs.
  void step(const std::shared_ptr<storage::MemoryFile>& file, const std::string& text) {
    std::istringstream words(text);
    std::string verb, name;
    words >> verb;
    const auto image = open(file);
    ASSERT_NE(image, nullptr);
    if (verb == "w" || verb == "z") {
      unsigned pattern = 0;
      std::uint64_t at = 0, length = 0;
      if (verb == "w") words >> pattern;
      words >> at >> length;
      std::ostringstream io;
      io << "qemu-io -f qcow2 -c 'write ";
      if (verb == "w") io << "-P " << pattern << " " << at << " " << length << "' x";
      if (verb == "z") io << "-z " << at << " " << length << "' x";
      must(io.str());
      if (verb == "w") {
        const std::vector<std::byte> data(length, static_cast<std::byte>(pattern));
        must_run(image->write({at}, data));
      } else {
        must_run(image->write_zeroes({at}, length, false));
      }
    } else {
      words >> name;
      must("qemu-img snapshot -" + verb + " " + name + " x");
      if (verb == "c") {
        const Snapshot made = last_of(directory_ / "x");
        must_run(image->create_snapshot({.name = name,
                                         .date_seconds = made.date_seconds,
                                         .date_nanoseconds = made.date_nanoseconds,
                                         .vm_clock_ns = made.vm_clock_ns}));
      } else if (verb == "a") {
        must_run(image->apply_snapshot(name));
      } else {
        must_run(image->delete_snapshot(name));
      }
    }
    must_run(image->close());
  }

  void follow(const std::string& options, const std::vector<std::string>& steps) {
    must("rm -f x && qemu-img create -q -f qcow2 -o " + options + " x 2M");
    auto file = std::make_shared<storage::MemoryFile>();
    file->write_now(0, testing::contents(directory_ / "x"));
    for (const std::string& text : steps) {
      SCOPED_TRACE(options + ": " + text);
      step(file, text);
      ASSERT_EQ(testing::difference(*file, directory_ / "x"), "");
      const CheckResult checked = must_run(check(file, {}));
      EXPECT_EQ(checked.corruptions + checked.leaks + checked.check_errors, 0U);
    }
  }
};

TEST_F(SnapshotTest, LeavesTheBytesThatQemuLeaves) {
  for (const char* options : {"compat=1.1", "compat=0.10", "cluster_size=512", "cluster_size=4k",
                              "refcount_bits=2,cluster_size=4k", "refcount_bits=64"}) {
    // Version 2 has no zero flag.
    const std::string zero = std::string(options) == "compat=0.10" ? "w 0 0 131072" : "z 0 131072";
    follow(options, {"c empty", "w 1 0 200000", "c one", "w 2 65536 4096", "c two", "d one",
                     "w 3 1000000 300000", "a two", zero, "c three", "a empty", "w 4 0 512",
                     "a three", "d empty", "d two", "w 5 0 2097152", "d three"});
  }
}

TEST_F(SnapshotTest, OfADiskOfAnotherSize) {
  must("qemu-img create -q -f qcow2 x 2M");
  auto file = std::make_shared<storage::MemoryFile>();
  file->write_now(0, testing::contents(directory_ / "x"));
  const auto resize = [&](std::uint64_t size) {
    must("qemu-img resize -q --shrink x " + std::to_string(size));
    const auto image = open(file);
    must_run(image->resize(size, Preallocation::off));
    must_run(image->close());
  };
  for (const char* text : {"w 1 0 200000", "c small"}) step(file, text);
  resize(4_MiB);
  for (const char* text : {"w 2 3000000 200000", "c large", "a small"}) step(file, text);
  EXPECT_EQ(testing::difference(*file, directory_ / "x"), "");
  EXPECT_EQ(open(file)->size(), 2_MiB);
  step(file, "a large");
  EXPECT_EQ(open(file)->size(), 4_MiB);
  EXPECT_EQ(testing::difference(*file, directory_ / "x"), "");
}

TEST_F(SnapshotTest, IsShownAsItWas) {
  auto file = std::make_shared<storage::MemoryFile>();
  must_run(create(*file, {.size = 1_MiB}));
  const auto image = open(file);
  const std::vector<std::byte> before(100000, std::byte{1}), after(100000, std::byte{2});
  must_run(image->write({5}, before));
  must_run(image->create_snapshot({.name = "kept"}));
  must_run(image->write({5}, after));
  must_run(image->close());
  const auto shown = must_run(Image::open(world_, file, OpenOptions{.snapshot = "kept"}));
  std::vector<std::byte> read(before.size());
  must_run(shown->read({5}, read));
  EXPECT_EQ(read, before);
}

TEST_F(SnapshotTest, KeepsTheStateOfTheMachine) {
  auto file = std::make_shared<storage::MemoryFile>();
  must_run(create(*file, {.size = 1_MiB}));
  const std::vector<std::byte> state(3000000, std::byte{7});
  {
    const auto image = open(file);
    must_run(image->write_vm_state(0, state));
    must_run(image->create_snapshot(
        {.name = "running", .vm_clock_ns = 3723004000000, .vm_state_bytes = state.size()}));
    must_run(image->close());
  }
  testing::save(*file, directory_ / "x");
  must("qemu-img check x");
  EXPECT_NE(must("qemu-img snapshot -l x").find("2.86 MiB"), std::string::npos);
  EXPECT_NE(must("qemu-img snapshot -l x").find("01:02:03.004"), std::string::npos);
  const auto image = open(file);
  must_run(image->apply_snapshot("running"));
  std::vector<std::byte> read(state.size());
  must_run(image->read_vm_state(0, read));
  EXPECT_EQ(read, state);
  must_run(image->close());
  testing::save(*file, directory_ / "x");
  must("qemu-img check x");
}

TEST_F(SnapshotTest, IsRefusedWhereCountsAreTooNarrow) {
  auto file = std::make_shared<storage::MemoryFile>();
  must_run(create(*file, {.size = 1_MiB, .refcount_order = 0}));
  const auto image = open(file);
  const std::vector<std::byte> data(200000, std::byte{1});
  must_run(image->write({0}, data));
  const auto made = run(world_, image->create_snapshot({.name = "no"}));
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().number, EINVAL);
  must_run(image->close());
  const CheckResult checked = must_run(check(file, {}));
  EXPECT_EQ(checked.corruptions + checked.leaks, 0U);
}

TEST_F(SnapshotTest, IsFoundByItsIdFirst) {
  auto file = std::make_shared<storage::MemoryFile>();
  must_run(create(*file, {.size = 1_MiB}));
  const auto image = open(file);
  must_run(image->create_snapshot({.name = "2"}));
  must_run(image->create_snapshot({.name = "other"}));
  EXPECT_EQ(image->find_snapshot("2")->name, "other");
  EXPECT_EQ(image->find_snapshot("other")->id, "2");
  EXPECT_EQ(image->find_snapshot("3"), nullptr);
  EXPECT_EQ(run(world_, image->delete_snapshot("3")).error().number, ENOENT);
}

}  // namespace
}  // namespace sim::qcow2
