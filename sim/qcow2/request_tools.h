// For tests: the same guest requests to an Image and to qemu-io, and whether the files are the
// same.

#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "sim/qcow2/encryption.h"
#include "sim/qcow2/image.h"
#include "sim/qcow2/qemu_tools.h"
#include "sim/storage/file.h"
#include "sim/world/rng.h"

namespace sim::qcow2::testing {

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
  enum class Kind : unsigned char { write, zero, zero_unmap, discard } kind;
  std::uint64_t at, length;
  int pattern = 1;
};
using Session = std::vector<Request>;  // from open to close
constexpr auto kWrite = Request::Kind::write;
constexpr auto kZero = Request::Kind::zero;
constexpr auto kZeroUnmap = Request::Kind::zero_unmap;
constexpr auto kDiscard = Request::Kind::discard;

inline std::string spell(const Request& request) {
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

// 30 requests of every kind, some of them aligned to `cluster`.
inline Session random_session(Rng& rng, std::uint64_t size, std::uint64_t cluster) {
  Session requests;
  for (int i = 0; i < 30; ++i) {
    const std::uint64_t unit = rng.chance({1, 2}) ? 512 : 4096;
    std::uint64_t at = rng.below(size) / unit * unit;
    if (rng.chance({1, 4})) at = align_down(at, cluster);
    const std::uint64_t most = rng.chance({1, 2}) ? 10000 : 700000;
    const std::uint64_t length =
        std::min(size - at, align_up(1 + rng.below(most), rng.chance({1, 4}) ? 1 : unit));
    const std::uint64_t draw = rng.below(10);
    const auto kind = draw < 5 ? kWrite : draw < 7 ? kZero : draw < 8 ? kZeroUnmap : kDiscard;
    requests.push_back({kind, at, length, static_cast<int>(1 + rng.below(255))});
  }
  return requests;
}

class SameRequests : public WithQemu {
 protected:
  // Both sides start from the same image, which QEMU makes with `options`; `base_size` > 0 puts it
  // over a raw file that holds data in every other 100 KiB.  A data file is called `data`, and ours
  // is kept in memory.  An encrypted image has the passphrase `kPassphrase`.
  void create(const std::string& options, std::uint64_t size, std::uint64_t base_size = 0) {
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
      backing = " -b base.raw -F raw";
      backing_ = std::make_unique<RawBacking>(*base);
    }
    encrypted_ = options.find("encrypt.format") != std::string::npos;
    must("qemu-img create -q -f qcow2" + secret() + backing + " -o " + options + " theirs.qcow2 " +
         std::to_string(size));
    ours_ = load(directory_ / "theirs.qcow2");
    cipher_.reset();
    if (encrypted_) {
      const auto header = run(world_, read_header(*ours_, false));
      ASSERT_TRUE(header.ok());
      auto cipher = run(world_, unlock(*ours_, *header, kPassphrase));
      ASSERT_TRUE(cipher.ok()) << cipher.error().desc;
      cipher_ = *cipher;
    }
    data_.reset();
    if (options.find("data_file=data") != std::string::npos) data_ = load(directory_ / "data");
  }

  std::unique_ptr<Image> open(bool writable = true) {
    auto image =
        run(world_,
            Image::open(world_, ours_,
                        OpenOptions{.writable = writable, .data_file = data_, .cipher = cipher_}));
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

  // From open to close, on both sides.
  void session(const Session& requests) {
    auto image = open();
    std::string command = qemu_io();
    for (const Request& request : requests) {
      const auto done = perform(*image, request);
      EXPECT_TRUE(done.ok()) << spell(request) << ": " << done.error().desc;
      command += " -c '" + spell(request) + "'";
    }
    EXPECT_TRUE(run(world_, image->close()).ok());
    must(command + " > log");
  }

  // The start of a command line: commands follow.
  std::string qemu_io() const {
    if (!encrypted_) return "qemu-io -d unmap -f qcow2 theirs.qcow2";
    return "qemu-io" + secret() +
           " --image-opts driver=qcow2,discard=unmap,encrypt.key-secret=s,"
           "file.filename=theirs.qcow2";
  }
  std::string secret() const {
    return encrypted_ ? std::string(" --object secret,id=s,data=") + kPassphrase : std::string();
  }

  void expect_same() {
    EXPECT_EQ(difference(*ours_, directory_ / "theirs.qcow2"), "");
    if (data_) EXPECT_EQ(difference(*data_, directory_ / "data"), "");
  }

  // QEMU's view of our file.
  void expect_clean() {
    save(*ours_, directory_ / "ours.qcow2");
    if (!encrypted_) {
      must("qemu-img check -q -f qcow2 ours.qcow2");
      return;
    }
    must("qemu-img check -q" + secret() +
         " --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=ours.qcow2");
  }

  static std::shared_ptr<storage::MemoryFile> load(const std::string& path) {
    auto file = std::make_shared<storage::MemoryFile>();
    const std::vector<std::byte> bytes = contents(path);
    file->write_now(0, bytes);
    return file;
  }

  static constexpr const char* kPassphrase = "open";
  bool encrypted_ = false;
  std::shared_ptr<const crypto::SectorCipher> cipher_;
  std::shared_ptr<storage::MemoryFile> ours_, data_;
  std::unique_ptr<Backing> backing_;
};

}  // namespace sim::qcow2::testing
