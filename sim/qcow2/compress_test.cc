// Compressed clusters against the real qemu-io and qemu-img: the same bytes after the same
// requests.

#include "sim/qcow2/compress.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "sim/qcow2/image.h"
#include "sim/qcow2/qemu_tools.h"
#include "sim/storage/file.h"

namespace sim::qcow2 {
namespace {

// Kinds of data, each a function of its place, by the names of qemu-io's pattern files.
enum class Data : char { text = 't', noise = 'n', mixed = 'm', zeroes = 'z' };

std::vector<std::byte> make_data(Data kind, std::uint64_t size) {
  std::vector<std::byte> bytes(size);
  std::uint32_t state = 12345;
  for (std::uint64_t i = 0; i < size; ++i) {
    state = state * 1664525 + 1013904223;
    const auto random = static_cast<std::byte>(state >> 24);
    const auto letter = static_cast<std::byte>('a' + (state >> 26) % 20);
    if (kind == Data::text) bytes[i] = letter;
    if (kind == Data::noise) bytes[i] = random;
    if (kind == Data::mixed) bytes[i] = i % 9 < 6 ? std::byte{'-'} : letter;
  }
  return bytes;
}

struct Request {
  std::string what;  // qemu-io's command: "write -c", "write", "write -z", "discard"
  Data data = Data::text;
  std::uint64_t at = 0, length = 0;  // in clusters of the image
};
using Session = std::vector<Request>;

class CompressTest : public testing::WithQemu {
 protected:
  void SetUp() override {
    WithQemu::SetUp();
    for (const Data kind : {Data::text, Data::noise, Data::mixed, Data::zeroes}) {
      storage::RealFiles files;
      auto file = files.create(directory_ / std::string(1, static_cast<char>(kind)));
      ASSERT_TRUE(file.ok());
      ASSERT_TRUE(run(world_, (*file)->write(0, make_data(kind, kPatternBytes))).ok());
    }
  }

  // A file of QEMU's in memory.
  std::shared_ptr<storage::MemoryFile> load(const std::string& name) {
    auto file = std::make_shared<storage::MemoryFile>();
    file->write_now(0, testing::contents(directory_ / name));
    return file;
  }
  std::unique_ptr<Image> open(const std::shared_ptr<storage::MemoryFile>& file, bool writable) {
    auto opened = run(world_, Image::open(world_, file, writable));
    EXPECT_TRUE(opened.ok()) << opened.error().desc;
    return opened.ok() ? std::move(*opened) : nullptr;
  }

  std::vector<std::byte> data_of(const Request& request, std::uint64_t bytes) {
    std::vector<std::byte> data = make_data(request.data, kPatternBytes);
    std::vector<std::byte> repeated(bytes);
    for (std::uint64_t i = 0; i < bytes; ++i) repeated[i] = data[i % data.size()];
    return repeated;
  }
  Result<> apply(Image& image, const Request& request) {
    const GuestOffset at{request.at * image.cluster_size()};
    const std::uint64_t bytes =
        std::min(request.length * image.cluster_size(), image.size() - at.value);
    const std::vector<std::byte> data = data_of(request, bytes);
    if (request.what == "write -c") return run(world_, image.write_compressed(at, data));
    if (request.what == "write") return run(world_, image.write(at, data));
    if (request.what == "write -z") return run(world_, image.write_zeroes(at, bytes, false));
    return run(world_, image.discard(at, bytes));
  }

  // Both do the same sessions on an image that QEMU has made with `options`; empty if the files are
  // the same afterwards, guest and all.
  std::string compare(const std::string& options, std::uint64_t clusters,
                      const std::vector<Session>& sessions) {
    must("qemu-img create -q -f qcow2 -o " + options + " x 0");
    const std::uint64_t cluster = open(load("x"), false)->cluster_size();
    must("qemu-img create -q -f qcow2 -o " + options + " x " + std::to_string(clusters * cluster));
    auto ours = load("x");
    for (const Session& session : sessions) {
      auto image = open(ours, true);
      std::string command = "qemu-io -f qcow2";
      for (const Request& request : session) {
        const std::uint64_t at = request.at * cluster;
        const std::uint64_t bytes = std::min(request.length * cluster, image->size() - at);
        command += " -c '" + request.what;
        if (request.what == "write" || request.what == "write -c")
          command += std::string(" -s ") + static_cast<char>(request.data);
        command += " " + std::to_string(at) + " " + std::to_string(bytes) + "'";
        const bool done = apply(*image, request).ok();
        EXPECT_TRUE(done) << request.what << " " << request.at;
      }
      must(command + " x");
      EXPECT_TRUE(run(world_, image->close()).ok());
    }
    const std::string differs = testing::difference(*ours, directory_ / "x");
    testing::save(*ours, directory_ / "ours");
    if (!differs.empty()) return differs;
    return reads_as_qemu("x") ? "" : "the guest's view";
  }

  bool reads_as_qemu(const std::string& name) {
    must("qemu-img convert -f qcow2 -O raw " + name + " raw");
    const std::vector<std::byte> theirs = testing::contents(directory_ / "raw");
    auto image = open(load(name), false);
    std::vector<std::byte> ours(image->size());
    const std::uint64_t step = image->cluster_size() / 3 + 100;  // some across two clusters
    for (std::uint64_t at = 0; at < ours.size(); at += step) {
      const std::uint64_t part = std::min(step, ours.size() - at);
      EXPECT_TRUE(run(world_, image->read({at}, MutableBytes(ours).subspan(at, part))).ok());
    }
    return ours == theirs;
  }

  static constexpr std::uint64_t kPatternBytes = std::uint64_t{1} << 20;
};

const Session kMany = {
    {"write -c", Data::text, 0, 1},  {"write -c", Data::mixed, 1, 1},
    {"write -c", Data::text, 3, 1},  {"write -c", Data::zeroes, 4, 1},
    {"write", Data::noise, 7, 1},    {"write -c", Data::text, 5, 1},
    {"write -c", Data::noise, 9, 1}, {"write -c", Data::mixed, 8, 1},
    {"write -c", Data::text, 10, 1}, {"write -c", Data::text, 12, 1},
};

TEST_F(CompressTest, SameBytesAsQemu) {
  for (const std::string type : {"zlib", "zstd"})
    for (const std::string size : {"512", "4k", "64k", "2M"})
      EXPECT_EQ(compare("cluster_size=" + size + ",compression_type=" + type, 16, {kMany}), "")
          << type << " " << size;
}

TEST_F(CompressTest, NarrowCountsEndASharedCluster) {
  for (const std::string bits : {"1", "2", "4", "64"}) {
    Session session;
    for (std::uint64_t i = 0; i < 60; ++i)
      session.push_back({"write -c", i % 3 == 0 ? Data::text : Data::zeroes, i, 1});
    EXPECT_EQ(compare("cluster_size=4k,refcount_bits=" + bits, 64, {session}), "") << bits;
  }
}

TEST_F(CompressTest, EverySessionBeginsANewCluster) {
  EXPECT_EQ(compare("cluster_size=4k", 16, {{kMany[0]}, {kMany[1], kMany[2]}, {kMany[8]}}), "");
}

// With a block of counts to be made on the way: 512-byte clusters, 256 counts to a block.
TEST_F(CompressTest, NewBlocksOfCounts) {
  Session session;
  for (std::uint64_t i = 0; i < 500; ++i)
    session.push_back({"write -c", i % 2 == 0 ? Data::text : Data::mixed, i, 1});
  EXPECT_EQ(compare("cluster_size=512", 600, {session}), "");
}

TEST_F(CompressTest, OverwrittenZeroedDiscarded) {
  for (const std::string options :
       {"cluster_size=4k", "cluster_size=4k,compat=0.10", "cluster_size=16k,extended_l2=on"}) {
    for (const std::string what : {"write", "write -z", "discard"}) {
      EXPECT_EQ(
          compare(options, 16, {kMany, {{what, Data::noise, 0, 2}, {what, Data::text, 4, 1}}}), "")
          << options << " " << what;
      // In the session that wrote them: what is placed next, and where.
      Session session = kMany;
      session.push_back({what, Data::noise, 10, 1});
      session.push_back({"write -c", Data::text, 13, 1});
      session.push_back({what, Data::noise, 0, 3});
      session.push_back({"write -c", Data::mixed, 14, 1});
      EXPECT_EQ(compare(options, 16, {session}), "") << options << " " << what;
    }
  }
}

TEST_F(CompressTest, TheLastClusterMayBeShort) {
  must("qemu-img create -q -f qcow2 -o cluster_size=4k x 10k");
  auto ours = load("x");
  auto image = open(ours, true);
  ASSERT_TRUE(run(world_, image->write_compressed({8192}, make_data(Data::text, 2048))).ok());
  ASSERT_TRUE(run(world_, image->close()).ok());
  must("qemu-io -c 'write -c -s t 8k 2k' x");
  EXPECT_EQ(testing::difference(*ours, directory_ / "x"), "");
  image = open(ours, true);
  ASSERT_TRUE(run(world_, image->write_compressed({0}, {})).ok());
  EXPECT_EQ(ours->size() % 512, 0U);
}

TEST_F(CompressTest, RefusesWhatQemuRefuses) {
  must("qemu-img create -q -f qcow2 -o cluster_size=4k x 64k");
  must("qemu-io -c 'write 4k 4k' -c 'write 8k 4k' -c 'write -z 8k 4k' -c 'write -c 12k 4k' x");
  auto image = open(load("x"), true);
  const auto number = [&](std::uint64_t at, std::uint64_t length) {
    const auto done = run(world_, image->write_compressed({at}, make_data(Data::text, length)));
    return done.ok() ? 0 : done.error().number;
  };
  EXPECT_EQ(number(512, 4096), EINVAL);
  EXPECT_EQ(number(0, 512), EINVAL);
  EXPECT_EQ(number(0, 6144), EINVAL);
  EXPECT_EQ(number(4096, 4096), EIO);   // data
  EXPECT_EQ(number(8192, 4096), EIO);   // zero, with a cluster kept
  EXPECT_EQ(number(12288, 4096), EIO);  // compressed
  EXPECT_EQ(number(0, 4096), 0);
}

// QEMU 7.2 forgets here that something else took the cluster it had begun to fill, and writes
// compressed data into the middle of it.
TEST_F(CompressTest, DoesNotContinueInAClusterOfSomethingElse) {
  must("qemu-img create -q -f qcow2 -o cluster_size=4k x 64k");
  auto ours = load("x");
  auto image = open(ours, true);
  for (const Request& request : Session{{"write -c", Data::text, 0, 1},
                                        {"discard", Data::text, 0, 1},
                                        {"write", Data::noise, 1, 1},
                                        {"write -c", Data::text, 2, 1}})
    ASSERT_TRUE(apply(*image, request).ok());
  ASSERT_TRUE(run(world_, image->close()).ok());
  testing::save(*ours, directory_ / "ours");
  must("qemu-img check ours");
  must("qemu-io -c 'read -P 110 4k 1' ours; qemu-img convert -f qcow2 -O raw ours raw");
  const std::vector<std::byte> raw = testing::contents(directory_ / "raw");
  EXPECT_TRUE(std::ranges::equal(Bytes(raw).subspan(4096, 4096), make_data(Data::noise, 4096)));
  EXPECT_TRUE(std::ranges::equal(Bytes(raw).subspan(8192, 4096), make_data(Data::text, 4096)));
}

TEST_F(CompressTest, ReadsWhatQemuConverts) {
  must("cat t n m z t > all");
  for (const std::string type : {"zlib", "zstd"})
    for (const std::string size : {"512", "64k", "2M"}) {
      must("qemu-img convert -c -f raw -O qcow2 -o cluster_size=" + size +
           ",compression_type=" + type + " all x");
      EXPECT_TRUE(reads_as_qemu("x")) << type << " " << size;
    }
}

TEST_F(CompressTest, CopyOnWriteOverACompressedBackingCluster) {
  must("qemu-img convert -c -f raw -O qcow2 m x; qemu-img snapshot -c s x");
  auto ours = load("x");
  auto image = open(ours, true);
  const std::vector<std::byte> data = make_data(Data::noise, 5000);
  ASSERT_TRUE(run(world_, image->write({64_KiB * 3 + 100}, data)).ok());
  ASSERT_TRUE(run(world_, image->close()).ok());
  must("qemu-io -f qcow2 -c 'write -s n 196708 5000' x");
  EXPECT_EQ(testing::difference(*ours, directory_ / "x"), "");
}

// spec, with numbers worked out by hand.
TEST(CompressedWordTest, PlaceAndLength) {
  EXPECT_EQ(compressed_span(16, 0x4980000000050000), (CompressedSpan{{0x50000}, 39 * 512}));
  EXPECT_EQ(compressed_span(16, 0x4980000000054c92), (CompressedSpan{{0x54c92}, 39 * 512 - 0x92}));
  EXPECT_EQ(compressed_word(16, {0x54c92}, 38 * 512), 0x4980000000054c92);
  EXPECT_EQ(compressed_word(16, {0x50000}, 1), 0x4000000000050000);
  EXPECT_EQ(compressed_word(21, {std::uint64_t{1} << 49}, 1), std::nullopt);
  EXPECT_EQ(compressed_word(9, {std::uint64_t{1} << 56}, 1), std::nullopt);
  const TouchedClusters two = touched_clusters(16, {{0x5e55f}, 39 * 512});
  EXPECT_EQ(two.first.value, 5U);
  EXPECT_EQ(two.count, 2U);
}

TEST(CodecTest, DecodersAreBounded) {
  for (const Compression type : {Compression::zlib, Compression::zstd}) {
    const std::vector<std::byte> cluster = make_data(Data::mixed, 65536);
    auto smaller = compress(type, cluster);
    ASSERT_TRUE(smaller.has_value());
    std::vector<std::byte> out(65536);
    EXPECT_TRUE(decompress(type, *smaller, out).ok());
    EXPECT_EQ(out, cluster);
    std::vector<std::byte> half(32768);  // what comes after is left alone
    EXPECT_TRUE(decompress(type, *smaller, half).ok());
    std::vector<std::byte> twice(131072);
    EXPECT_FALSE(decompress(type, *smaller, twice).ok());
    smaller->resize(smaller->size() / 2);
    EXPECT_FALSE(decompress(type, *smaller, out).ok());
    EXPECT_FALSE(decompress(type, {}, out).ok());
    EXPECT_FALSE(compress(type, make_data(Data::noise, 65536)).has_value());
  }
}

// QEMU 7.2 goes on behind the last compressed cluster although its place was given up and taken by
// other data meanwhile, and so writes over that data.  This is not followed.
TEST_F(CompressTest, APlaceThatWasGivenUpIsNotGoneOnIn) {
  must("qemu-img create -q -f qcow2 -o cluster_size=4k x 1M");
  const auto file = load("x");
  must(
      "qemu-io -d unmap -f qcow2 -c 'write -P 1 -c 0 4k' -c 'discard 0 4k' -c 'write -P 2 4k 4k' "
      "-c 'write -P 3 -c 8k 4k' x");
  const std::string read = "qemu-io -r -f qcow2 -c 'read -P 2 4k 4k' -c 'read -P 3 8k 4k' ";
  const std::string at = "cd " + directory_.path() + " && ";
  EXPECT_NE(testing::run_command(at + read + "x").status, 0);
  EXPECT_EQ(testing::run_command(at + "qemu-img check -f qcow2 x").status, 2);

  const auto filled = [](int pattern) {
    return std::vector<std::byte>(4096, static_cast<std::byte>(pattern));
  };
  const auto image = open(file, true);
  ASSERT_TRUE(run(world_, image->write_compressed({0}, filled(1))).ok());
  ASSERT_TRUE(run(world_, image->discard({0}, 4096)).ok());
  ASSERT_TRUE(run(world_, image->write({4096}, filled(2))).ok());
  ASSERT_TRUE(run(world_, image->write_compressed({8192}, filled(3))).ok());
  ASSERT_TRUE(run(world_, image->close()).ok());
  testing::save(*file, directory_ / "ours");
  must(read + "-c 'read -P 0 0 4k' ours && qemu-img check -f qcow2 ours");
}

}  // namespace
}  // namespace sim::qcow2
