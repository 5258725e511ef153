// Persistent bitmaps against the real qemu-img and qemu-io: the same bytes after the same sessions,
// the same words for what is refused.

#include "sim/qcow2/bitmap.h"

#include <gtest/gtest.h>

#include <regex>

#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"
#include "sim/qcow2/qemu_tools.h"

namespace sim::qcow2 {
namespace {

constexpr std::string_view kInconsistent =
    "Bitmap 'x' is inconsistent and cannot be used\nTry block-dirty-bitmap-remove to delete this "
    "bitmap from disk";

class BitmapTest : public testing::WithQemu {
 protected:
  // Both sides go on with this file of QEMU's.
  void start(const std::string& options, const std::string& size) {
    must("qemu-img create -q -f qcow2 " + options + " theirs.qcow2 " + size);
    adopt();
  }
  void adopt() {
    ours_ = std::make_shared<storage::MemoryFile>();
    ours_->write_now(0, testing::contents(directory_ / "theirs.qcow2"));
  }

  Result<std::unique_ptr<Image>> try_open(bool writable) {
    return run(world_, Image::open(world_, ours_, writable));
  }
  std::unique_ptr<Image> open(bool writable = true) {
    auto image = try_open(writable);
    EXPECT_TRUE(image.ok()) << image.error().desc;
    return *std::move(image);
  }
  static void expect_ok(const Result<>& result) { EXPECT_TRUE(result.ok()) << result.error().desc; }
  void close(Image& image) { expect_ok(run(world_, image.close())); }

  // One of qemu-img's actions on bitmap `name`, in a session of its own, on both sides.
  void add(const std::string& name, std::uint8_t bits = 16, bool enabled = true) {
    auto image = open();
    expect_ok(run(world_, image->add_bitmap(name, bits, enabled)));
    close(*image);
    must("qemu-img bitmap --add -g " + std::to_string(1U << bits) + (enabled ? "" : " --disable") +
         " theirs.qcow2 '" + name + "'");
  }
  template <class Do>
  void change(const std::string& action, const std::string& name, Do&& perform) {
    auto image = open();
    expect_ok(run(world_, perform(*image)));
    close(*image);
    must("qemu-img bitmap " + action + " theirs.qcow2 '" + name + "'");
  }
  void remove(const std::string& name) {
    change("--remove", name, [&](Image& image) { return image.remove_bitmap(name); });
  }
  void clear(const std::string& name) {
    change("--clear", name, [&](Image& image) { return image.clear_bitmap(name); });
  }
  void enable(const std::string& name, bool enabled) {
    change(enabled ? "--enable" : "--disable", name,
           [&](Image& image) { return image.enable_bitmap(name, enabled); });
  }
  void merge(const std::string& source, const std::string& name) {
    change("--merge " + source, name,
           [&](Image& image) { return image.merge_bitmap(name, image, source); });
  }

  // A session of guest writes; `kind` is qemu-io's command.
  struct Request {
    std::string kind;
    std::uint64_t at, length;
  };
  void guest(const std::vector<Request>& requests, bool ends = true) {
    auto image = open();
    std::string command = "qemu-io -d unmap -f qcow2";
    for (const auto& [kind, at, length] : requests) {
      command += " -c '" + kind + " " + std::to_string(at) + " " + std::to_string(length) + "'";
      if (kind == "discard") {
        expect_ok(run(world_, image->discard({at}, length)));
      } else if (kind == "write") {
        const std::vector<std::byte> data(length, std::byte{0xcd});
        expect_ok(run(world_, image->write({at}, data)));
      } else {
        expect_ok(run(world_, image->write_zeroes({at}, length, kind == "write -z -u")));
      }
    }
    if (ends) {
      close(*image);
      must(command + " theirs.qcow2");
    } else {
      expect_ok(run(world_, image->flush()));
      testing::run_command("cd " + directory_.path() + " && " + command +
                           " -c flush -c abort theirs.qcow2");
    }
  }

  void expect_same(const std::string& after) {
    EXPECT_EQ(testing::difference(*ours_, directory_ / "theirs.qcow2"), "") << "after " << after;
  }
  void expect_clean() {
    testing::save(*ours_, directory_ / "ours.qcow2");
    must("qemu-img check -q -f qcow2 ours.qcow2");
  }
  void poke(std::uint64_t at, std::uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i) {
      const auto byte = static_cast<std::byte>(value >> (8 * (bytes - 1 - i)));
      ours_->write_now(at + i, Bytes(&byte, 1));
    }
  }
  std::uint64_t peek(std::uint64_t at) const {
    std::array<std::byte, 8> bytes{};
    ours_->read_now(at, bytes);
    return load_be<std::uint64_t>(bytes, 0);
  }
  std::string qemus_error(const std::string& command, const std::string& prefix) {
    testing::save(*ours_, directory_ / "x");
    const testing::Ran ran = testing::run_command("cd " + directory_.path() + " && " + command);
    if (!ran.output.starts_with(prefix)) return ran.status == 0 ? "" : ran.output;
    return ran.output.substr(prefix.size(), ran.output.size() - prefix.size() - 1);
  }

  std::shared_ptr<storage::MemoryFile> ours_;
};

TEST_F(BitmapTest, EveryActionGivesQemusBytes) {
  for (const std::string options :
       {"-o cluster_size=64k", "-o cluster_size=512", "-o cluster_size=2M,refcount_bits=1"}) {
    SCOPED_TRACE(options);
    start(options, "64M");
    add("b0");
    expect_same("the first");
    add("b1", 12, false);
    expect_same("the second");
    guest({{"write", 192 * 1024, 4096}, {"write", 10 << 20, 100}});
    expect_same("writes");
    enable("b1", true);
    expect_same("enabling");
    guest({{"write -z", 1000, 3000}, {"discard", 70000, 300000}, {"write -z -u", 5 << 20, 70001}});
    expect_same("zeroes and discards");
    merge("b1", "b0");
    expect_same("merging fine into coarse");
    add("b2", 9);
    merge("b0", "b2");
    expect_same("merging coarse into fine");
    enable("b0", false);
    guest({{"write", 50 << 20, 1 << 20}});
    clear("b1");
    expect_same("clearing");
    remove("b1");
    expect_same("removing one in the middle");
    add("b1");
    expect_same("adding it again");
    expect_clean();
    for (const char* name : {"b0", "b2", "b1"}) remove(name);
    expect_same("removing the last");
    expect_clean();
  }
}

TEST_F(BitmapTest, NamesAndSizesOfEveryLength) {
  for (const char* size : {"1", "512", "65536", "65537", "3G", "1T"}) {
    SCOPED_TRACE(size);
    start("", size);
    add(std::string(1023, 'n'), 9);
    add("a");
    add("of eight");
    guest({{"write", 0, 512}});
    expect_same("three names");
  }
  start("", "2T");
  add("largest", 9);
  guest({{"write", 1ULL << 40, 1}, {"discard", 1 << 20, 1 << 30}});
  expect_same("a discard");
  start("-o cluster_size=4k", "100000");
  add("short last cluster", 9);
  guest({{"write", 99000, 1000}});
  expect_same("a write at the end");
}

TEST_F(BitmapTest, AnImageThatIsNotClosedSaysInUse) {
  start("", "64M");
  add("x");
  add("y", 20, false);
  guest({{"write", 0, 65536}}, false);
  expect_same("a crash");
  adopt();
  auto image = open(false);
  ASSERT_EQ(image->bitmaps().size(), 2U);
  EXPECT_TRUE(image->bitmaps()[0].in_use && image->bitmaps()[0].enabled);
  EXPECT_TRUE(image->bitmaps()[1].in_use);
  guest({{"write", 1 << 20, 65536}});
  expect_same("a session after the crash");
  image = open();
  for (auto failed :
       {run(world_, image->clear_bitmap("x")), run(world_, image->enable_bitmap("x", false)),
        run(world_, image->merge_bitmap("x", *image, "y"))})
    EXPECT_FALSE(failed.ok());
  EXPECT_EQ(run(world_, image->clear_bitmap("x")).error().desc +
                "\nTry block-dirty-bitmap-remove "
                "to delete this bitmap from disk",
            kInconsistent);
  EXPECT_EQ(
      qemus_error("qemu-img bitmap --clear x x", "qemu-img: Operation clear on bitmap x failed: "),
      kInconsistent);
  close(*image);
  remove("x");
  expect_same("removing an inconsistent one");
  add("x");
  expect_same("adding beside an inconsistent one");
  guest({{"write", 3 << 20, 65536}});
  remove("y");
  expect_same("removing the other");
  expect_clean();
}

TEST_F(BitmapTest, BitmapsThatAWriterDidNotKnowAreDropped) {
  start("", "64M");
  add("x");
  for (const char* file : {"theirs.qcow2"}) {
    must(std::string("printf '\\0' | dd of=") + file + " bs=1 seek=95 conv=notrunc status=none");
  }
  adopt();
  auto image = open(false);
  EXPECT_TRUE(image->bitmaps().empty());
  EXPECT_TRUE(image->header().drops_bitmaps);
  expect_same("looking");
  guest({});
  must("qemu-io -c 'read 0 1' theirs.qcow2");
  expect_same("opening for writing");
}

TEST_F(BitmapTest, BitsAreWhatQemuStored) {
  start("", "1M");
  add("x", 12);
  guest({{"write", 8192, 5000}, {"discard", 65536, 65536}});
  auto image = open(false);
  const auto bits = run(world_, image->bitmap_bits("x"));
  ASSERT_TRUE(bits.ok());
  std::vector<std::byte> expected(32);
  expected[0] = std::byte{0b1100};
  expected[2] = expected[3] = std::byte{0xff};
  EXPECT_EQ(*bits, expected);
}

TEST_F(BitmapTest, AnotherFilesBitsAreMerged) {
  start("", "64M");
  add("x");
  guest({{"write", 10 << 20, 100000}});
  auto source_file = ours_;
  must("cp theirs.qcow2 source.qcow2");
  start("-o cluster_size=4k", "64M");
  add("d", 9);
  auto source = run(world_, Image::open(world_, source_file, false));
  ASSERT_TRUE(source.ok());
  auto image = open();
  expect_ok(run(world_, image->merge_bitmap("d", **source, "x")));
  close(*image);
  must("qemu-img bitmap --merge x -b source.qcow2 theirs.qcow2 d");
  expect_same("the merge");
  EXPECT_EQ(run(world_, image->merge_bitmap("no", **source, "x")).error().desc,
            "Dirty bitmap 'no' not found");
  EXPECT_EQ(run(world_, image->merge_bitmap("d", **source, "no")).error().desc,
            "Dirty bitmap 'no' not found");
}

TEST_F(BitmapTest, WhatCannotBeAddedIsRefusedInQemusWords) {
  const auto refused = [&](const std::string& name, std::uint8_t bits) {
    auto image = open();
    const auto added = run(world_, image->add_bitmap(name, bits, true));
    close(*image);
    const std::string theirs =
        std::regex_replace(qemus_error("qemu-img bitmap --add -g " + std::to_string(1ULL << bits) +
                                           " x '" + name + "'",
                                       "qemu-img: Operation add on bitmap " + name + " failed: "),
                           std::regex("'#block[0-9]*'"), "NODE");
    const std::string prefix = "Can't make bitmap '" + name + "' persistent in NODE: ";
    EXPECT_FALSE(added.ok());
    EXPECT_EQ(added.ok() ? "" : added.error().desc,
              theirs.starts_with(prefix) ? theirs.substr(prefix.size()) : theirs);
  };
  start("", "4T");
  add("x", 10);
  refused("x", 16);
  refused("y", 9);
  refused("", 16);
  refused(std::string(1024, 'n'), 16);
  start("-o compat=0.10", "1M");
  refused("x", 16);
}

TEST_F(BitmapTest, BitmapsFollowTheSizeOfTheDisk) {
  start("", "64M");
  add("x");
  add("fine", 9);
  guest({{"write", 30 << 20, 100000}, {"write", 60 << 20, 65536}});
  for (const std::uint64_t size : {128_MiB, 32_MiB, 1_GiB, std::uint64_t{1} << 40}) {
    auto image = open();
    expect_ok(run(world_, image->resize(size, Preallocation::off)));
    close(*image);
    must("qemu-img resize -q --shrink theirs.qcow2 " + std::to_string(size));
    expect_same("resizing to " + std::to_string(size));
  }
  guest({}, false);
  auto image = open();
  EXPECT_EQ(run(world_, image->resize(1_MiB, Preallocation::off)).error().desc + "\n",
            std::string(kInconsistent).substr(0, kInconsistent.find('\n') + 1));
}

// Edits of the directory at `directory`, whose first entry is x's.
struct Edit {
  const char* name;
  std::vector<std::array<std::uint64_t, 3>> pokes;  // place, value, bytes
  bool same = true;  // after a session; else QEMU makes refcount blocks for what it frees beyond
                     // the end of the file, or keeps bits beyond the end of the disk
};

class HostileBitmaps : public BitmapTest {
 protected:
  void judge(const Edit& edit) {
    SCOPED_TRACE(edit.name);
    adopt();
    for (const auto& [place, value, bytes] : edit.pokes)
      poke(place, value, static_cast<unsigned>(bytes));
    const auto looked = try_open(false);
    EXPECT_EQ(looked.ok() ? "" : looked.error().desc,
              qemus_error("qemu-img info x", "qemu-img: Could not open 'x': "));
    auto image = try_open(true);
    EXPECT_EQ(image.ok(), looked.ok());
    if (!image || !edit.same) return;
    must("qemu-io -c 'write 0 4k' x");
    const std::vector<std::byte> written(4096, std::byte{0xcd});
    expect_ok(run(world_, (*image)->write({0}, written)));
    close(**image);
    EXPECT_EQ(testing::difference(*ours_, directory_ / "x"), "");
  }
};

TEST_F(HostileBitmaps, AreRefusedInQemusWords) {
  start("", "64M");
  add("b0");
  add("b1");
  guest({{"write", 192 * 1024, 4096}});
  constexpr std::uint64_t kExtension = 0x1f8 + 8;  // behind the feature names
  const std::uint64_t directory = peek(kExtension + 16);
  const std::uint64_t table = peek(directory);
  const std::uint64_t data = peek(table);
  namespace at = format::bitmap_at;
  const auto entry = [&](std::size_t field, std::uint64_t value, std::uint64_t bytes) {
    return std::vector<std::array<std::uint64_t, 3>>{{directory + field, value, bytes}};
  };
  const std::vector<Edit> edits = {
      {"nothing", {}},
      {"one in the header", {{kExtension, 1, 4}}},
      {"three in the header", {{kExtension, 3, 4}}},
      {"most in the header", {{kExtension, 65535, 4}}},
      {"directory of nothing", {{kExtension + 8, 0, 8}}},
      {"directory of 63", {{kExtension + 8, 63, 8}}},
      {"directory of 65", {{kExtension + 8, 65, 8}}},
      {"directory of 96", {{kExtension + 8, 96, 8}}},
      {"directory in the header", {{kExtension + 16, 0, 8}}},
      {"directory beyond the file", {{kExtension + 16, 1ULL << 40, 8}}},
      {"directory beyond the world", {{kExtension + 16, 1ULL << 63, 8}}},
      {"no table", entry(at::table_offset, 0, 8)},
      {"table unaligned", entry(at::table_offset, table + 512, 8)},
      {"table beyond the file", entry(at::table_offset, 1ULL << 40, 8), false},
      {"table beyond 56 bits", entry(at::table_offset, 1ULL << 56, 8), false},
      {"table beyond the world", entry(at::table_offset, 1ULL << 63, 8)},
      {"table of 0", entry(at::table_size, 0, 4)},
      {"table of 2", entry(at::table_size, 2, 4)},
      {"table of 8192", entry(at::table_size, 8192, 4)},
      {"table of 8193", entry(at::table_size, 8193, 4)},
      {"table of most", entry(at::table_size, UINT32_MAX, 4)},
      {"flag 2", entry(at::flags, 4, 4)},
      {"flag 3", entry(at::flags, 8, 4)},
      {"in use", entry(at::flags, 1, 4)},
      {"type 0", entry(at::type, 0, 1)},
      {"type 2", entry(at::type, 2, 1)},
      {"granularity 8", entry(at::granularity_bits, 8, 1)},
      {"granularity 9", entry(at::granularity_bits, 9, 1)},
      {"granularity 31", entry(at::granularity_bits, 31, 1), false},
      {"granularity 32", entry(at::granularity_bits, 32, 1)},
      {"no name", entry(at::name_size, 0, 2)},
      {"name of 1024", entry(at::name_size, 1024, 2)},
      {"name of 8", entry(at::name_size, 8, 2)},
      {"name with a NUL", entry(at::extra_data_size + 5, 0, 1)},
      {"extra data of 1", entry(at::extra_data_size, 1, 4)},
      {"extra data of 8", entry(at::extra_data_size, 8, 4)},
      {"extra data of 64", entry(at::extra_data_size, 64, 4)},
      {"extra data of most", entry(at::extra_data_size, UINT32_MAX, 4)},
      {"the same name twice", entry(32 + format::kBitmapHeadBytes + 1, '0', 1)},
      {"all ones", {{table, 1, 8}}},
      {"bit 1", {{table, 2, 8}}},
      {"bit 63", {{table, data | 1ULL << 63, 8}}},
      {"data and all ones", {{table, data | 1, 8}}},
      {"data unaligned", {{table, data + 512, 8}}},
      {"data beyond the file", {{table, 1ULL << 40, 8}}, false},
      {"data beyond 56 bits", {{table, 1ULL << 56, 8}}},
      {"a broken table that is in use", {{table, 2, 8}, {directory + at::flags, 1, 4}}},
      {"a larger disk", {{24, 1ULL << 40, 8}, {36, 2048, 4}}},
      {"a smaller disk", {{24, 1ULL << 20, 8}}},
  };
  for (const Edit& edit : edits) judge(edit);
}

TEST_F(BitmapTest, TablesBeyondTheFileAreRefusedUnlessLax) {
  start("", "64M");
  add("x");
  poke(peek(0x1f8 + 24), 1ULL << 40, 8);
  const auto strict = run(world_, Image::open(world_, ours_, OpenOptions{}));
  ASSERT_FALSE(strict.ok());
  EXPECT_EQ(strict.error().desc,
            "Table of bitmap 'x' at 0x10000000000 lies beyond the end of the file");
  EXPECT_TRUE(try_open(false).ok());
}

TEST_F(BitmapTest, OneClusterIsNotTheDataOfThousands) {
  start("-o cluster_size=4k", "4T");
  add("x", 12);
  guest({{"write", 0, 4096}});
  const std::uint64_t table = peek(peek(0x70 + 24));  // small clusters: no feature names
  for (std::uint64_t i = 1; i <= 16384; ++i) poke(table + i * 8, peek(table), 8);
  const auto image = try_open(true);
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.error().desc, "Bitmaps refer to more data than the file holds");
}

}  // namespace
}  // namespace sim::qcow2
