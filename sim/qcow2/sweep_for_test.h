// For tests that break things at every place: a small image, the operations done to it, and what
// each of its sectors may read as when something went wrong.

#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/qcow2/check.h"
#include "sim/qcow2/create.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"
#include "sim/storage/memory.h"
#include "sim/world/world.h"

namespace sim::qcow2::testing {

enum class Op : unsigned char {
  write,             // over what is allocated
  allocating_write,  // where nothing is, and over the end of what is
  zero,
  discard,
  compressed_write,
  snapshot,
  apply_snapshot,
  delete_snapshot,
  grow,
  shrink,
  flush,
};
inline constexpr std::array kOps = {
    Op::write,
    Op::allocating_write,
    Op::zero,
    Op::discard,
    Op::snapshot,
    Op::apply_snapshot,
    Op::delete_snapshot,
    Op::compressed_write,
    Op::grow,
    Op::shrink,
    Op::flush,
};
inline const char* name_of(Op op) {
  constexpr std::array kNames = {"write",
                                 "allocating write",
                                 "zero",
                                 "discard",
                                 "compressed write",
                                 "snapshot",
                                 "apply snapshot",
                                 "delete snapshot",
                                 "grow",
                                 "shrink",
                                 "flush"};
  return kNames[static_cast<std::size_t>(op)];
}
inline std::string spell(const std::vector<Op>& ops) {
  std::string text;
  for (const Op op : ops) text += (text.empty() ? "" : ", ") + std::string(name_of(op));
  return text;
}

// A disk of which each sector holds one byte's value, and may hold others: those it held since the
// last flush.
class Sectors {
 public:
  explicit Sectors(std::uint64_t size) : now_(size / format::kSector), may_(now_.size()) {
    flushed();
  }
  std::uint64_t size() const { return now_.size() * format::kSector; }

  void set(std::uint64_t at, std::uint64_t length, std::uint8_t value) {
    for (std::uint64_t i = at / format::kSector; i < (at + length) / format::kSector; ++i) {
      now_[i] = value;
      may_[i].set(value);
    }
  }
  // Becomes what `other` is, and may still be what it was.
  void become(const Sectors& other) {
    resize(other.size());
    for (std::size_t i = 0; i < now_.size(); ++i) {
      now_[i] = other.now_[i];
      may_[i] |= other.may_[i];
    }
  }
  // What was cut off may be seen until the next flush; it is remembered.
  void resize(std::uint64_t size) {
    now_.resize(size / format::kSector);
    for (std::size_t i = may_.size(); i < now_.size(); ++i) may_.emplace_back().set(0);
    for (std::size_t i = now_.size(); i < may_.size(); ++i) may_[i].set(0);
  }
  void flushed() {
    may_.resize(now_.size());
    for (std::size_t i = 0; i < now_.size(); ++i) may_[i].reset().set(now_[i]);
  }

  // What of `read` cannot be, in words; empty if all can.
  std::string judge(const std::vector<std::byte>& read) const {
    for (std::size_t at = 0; at < read.size(); at += format::kSector) {
      const Bytes bytes = Bytes(read).subspan(at, format::kSector);
      const auto value = std::to_integer<std::uint8_t>(bytes[0]);
      const std::size_t sector = at / format::kSector;
      const bool uniform = std::memcmp(&bytes[0], &bytes[1], bytes.size() - 1) == 0;
      if (uniform && (sector < may_.size() ? may_[sector].test(value) : value == 0)) continue;
      std::string text = "byte " + std::to_string(at) + " reads as " + std::to_string(value) +
                         (uniform ? "" : " and more");
      for (std::size_t v = 0; sector < may_.size() && v < 256; ++v)
        if (may_[sector].test(v)) text += ", may be " + std::to_string(v);
      return text;
    }
    return {};
  }

 private:
  std::vector<std::uint8_t> now_;
  std::vector<std::bitset<256>> may_;  // longer than now_ after a shrink
};

// Beneath an image: every byte 9.
class Nines final : public Backing {
 public:
  explicit Nines(std::uint64_t size) : size_(size) {}
  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override {
    for (std::size_t i = 0; i < into.size(); ++i)
      into[i] = offset + i < size_ ? std::byte{9} : std::byte{0};
    co_return ok();
  }
  std::uint64_t size() const override { return size_; }
  Task<Result<bool>> reads_as_zero(std::uint64_t offset, std::uint64_t) override {
    co_return offset >= size_;
  }

 private:
  std::uint64_t size_;
};

struct Shape {
  const char* name = "";
  CreateOptions create = {};
  bool backed = false;       // by Nines of half the disk's size
  std::uint64_t filler = 0;  // clusters written at the end of the disk before anything else
};

inline const std::vector<Shape>& shapes() {
  static const std::vector<Shape> kShapes = {
      {.name = "512-byte clusters", .create = {.size = 64 << 10, .cluster_bits = 9}},
      {.name = "4 KiB clusters", .create = {.size = 64 << 10, .cluster_bits = 12}},
      {.name = "over a backing file",
       .create =
           {.size = 64 << 10, .cluster_bits = 10, .backing_file = "b", .backing_format = "raw"},
       .backed = true},
      {.name = "1-bit counts",
       .create = {.size = 64 << 10, .cluster_bits = 9, .refcount_order = 0}},
      // A block of 64-bit counts covers 64 clusters: the operations need a second one.
      {.name = "64-bit counts",
       .create = {.size = 64 << 10, .cluster_bits = 9, .refcount_order = 6},
       .filler = 44},
      {.name = "version 2", .create = {.size = 64 << 10, .cluster_bits = 9, .version = 2}},
      {.name = "lazy refcounts",
       .create = {.size = 64 << 10, .cluster_bits = 9, .lazy_refcounts = true}},
      {.name = "extended L2",
       .create = {.size = 256 << 10, .cluster_bits = 14, .extended_l2 = true}},
  };
  return kShapes;
}
// The name of a parameterised test.
inline std::string identifier(const Shape& shape) {
  std::string name = shape.name;
  std::erase_if(name, [](char c) { return c == ' ' || c == '-'; });
  return name;
}

// An image of a Shape with something of everything in it, and what it may read as.  Copies do not
// share the open image: they are of the model, for copies of the file.
class Subject {
 public:
  static constexpr std::uint64_t kSnapshotsMax = 8;

  explicit Subject(const Shape& shape)
      : shape_(shape),
        cluster_(std::uint64_t{1} << shape.create.cluster_bits),
        disk_(shape.create.size),
        backing_(shape.create.size / 2) {
    if (shape.backed) disk_.set(0, backing_.size(), 9);
    disk_.flushed();
  }

  std::uint64_t cluster() const { return cluster_; }
  const Sectors& disk() const { return disk_; }
  bool lazy() const { return shape_.create.lazy_refcounts; }

  // Makes the image in `file`: data in clusters 0 to 3, zeroes that keep a cluster in 4, a snapshot
  // of that if there can be one.
  Task<Result<>> prepare(World& world, std::shared_ptr<storage::Storage> file) {
    CO_TRY_OK(co_await create(*file, shape_.create));
    CO_TRY_OK(co_await open(world, file));
    const std::uint64_t fill = shape_.filler * cluster_;
    if (fill > 0) CO_TRY_OK(co_await store(disk_.size() - fill, fill, 0xf1));
    CO_TRY_OK(co_await store(0, 5 * cluster_, 0xa0));
    CO_TRY_OK(co_await zero(4 * cluster_, cluster_, false));
    const auto made = co_await perform(Op::snapshot, 0);
    unsure_ = snapshots_used_ = false;
    if (!made && made.error().number != ENOTSUP && made.error().number != EINVAL)
      co_return made.error();
    CO_TRY_OK(co_await store(2 * cluster_, cluster_, 0xb0));
    CO_TRY_OK(co_await perform(Op::flush, 0));
    co_return co_await close();
  }

  Task<Result<>> open(World& world, std::shared_ptr<storage::Storage> file) {
    CO_TRY(auto image, co_await Image::open(world, std::move(file), true));
    image_ = std::move(image);
    if (shape_.backed) image_->set_backing(&backing_);
    co_return ok();
  }
  Task<Result<>> close() {
    CO_TRY_OK(co_await image_->close());
    image_.reset();
    all_flushed();
    co_return ok();
  }
  void drop() { image_.reset(); }
  Image& image() { return *image_; }

  // Does the step-th operation of a sequence; the model knows what may be there from its beginning
  // on.  Once one has failed, every sector may hold what it held before as well.
  Task<Result<>> perform(Op op, std::uint8_t step) {
    auto done = co_await begin(op, step);
    if (!done) unsure_ = true;
    co_return done;
  }

  // What is wrong with a file that was left behind, in words; empty if nothing is.  The file is
  // changed.  A count and the COPIED flag beside it cannot change at once: where the file says so
  // with its dirty bit (version 2 has none), it is repaired first, or by being opened for writing.
  // `thoroughly`: it is used afterwards, too.
  std::string judge(World& world, const std::shared_ptr<storage::MemoryFile>& file,
                    bool thoroughly) const {
    const bool dirty = is_marked_dirty(*file) || (shape_.create.version < 3 && snapshots_used_);
    if (dirty && !lazy()) {
      const auto repaired = run(world, check(file, {.repair = Repair::all}));
      if (!repaired) return "repair: " + repaired.error().desc;
    }
    std::string what;
    if (!lazy()) what = judge_check(world, file);  // else a read-write open comes first
    if (what.empty()) what = judge_content(world, file);
    if (what.empty()) what = judge_snapshots(world, file);
    if (what.empty() && lazy()) what = judge_check(world, file);
    if (what.empty() && thoroughly) what = judge_use(world, file);
    return what;
  }

 private:
  struct Held {
    std::string name;
    Sectors disk;
    bool must = false;  // it is in the file for sure
  };

  Task<Result<>> begin(Op op, std::uint8_t step) {
    const auto value = static_cast<std::uint8_t>(0x10 + step);
    switch (op) {
      case Op::write:
        return store(cluster_ / 2 / format::kSector * format::kSector, 2 * cluster_, value);
      case Op::allocating_write:
        return store(
            3 * cluster_ + cluster_ / 4 * 3 / format::kSector * format::kSector + step * cluster_,
            2 * cluster_, value);
      case Op::zero:
        return zero(cluster_ * (1 + step % 2), cluster_, step % 2 == 0);
      case Op::discard:
        return discard(cluster_ * (step % 3), 2 * cluster_);
      case Op::compressed_write:
        return compress((6 + step) * cluster_, value);
      case Op::snapshot:
        return take_snapshot("snapshot " + std::to_string(step));
      case Op::apply_snapshot:
        return apply_snapshot();
      case Op::delete_snapshot:
        return delete_snapshot();
      case Op::grow:
        return resize(disk_.size() + std::uint64_t{step} * 16 * cluster_);
      case Op::shrink:
        return resize(disk_.size() - 2 * cluster_);
      case Op::flush:
        return flush();
    }
    return flush();
  }

  Task<Result<>> store(std::uint64_t at, std::uint64_t length, std::uint8_t value) {
    disk_.set(at, length, value);
    const std::vector<std::byte> data(length, std::byte{value});
    co_return co_await image_->write({at}, data);
  }
  Task<Result<>> zero(std::uint64_t at, std::uint64_t length, bool unmap) {
    disk_.set(at, length, 0);
    co_return co_await image_->write_zeroes({at}, length, unmap);
  }
  // In version 2 what lies over a backing file is left alone.
  Task<Result<>> discard(std::uint64_t at, std::uint64_t length) {
    if (shape_.create.version >= 3 || !shape_.backed) disk_.set(at, length, 0);
    co_return co_await image_->discard({at}, length);
  }
  Task<Result<>> compress(std::uint64_t at, std::uint8_t value) {
    const std::vector<std::byte> data(cluster_, std::byte{value});
    disk_.set(at, cluster_, value);
    co_return co_await image_->write_compressed({at}, data);
  }
  Task<Result<>> take_snapshot(std::string name) {
    snapshots_used_ = true;
    snapshots_.push_back({name, disk_});
    auto made = co_await image_->create_snapshot({.name = name});
    if (!made) snapshots_.pop_back();
    co_return made;
  }
  Task<Result<>> apply_snapshot() {
    snapshots_used_ = true;
    if (snapshots_.empty()) co_return os_error(ENOTSUP);
    disk_.become(snapshots_.front().disk);
    co_return co_await image_->apply_snapshot(snapshots_.front().name);
  }
  Task<Result<>> delete_snapshot() {
    snapshots_used_ = true;
    if (snapshots_.empty()) co_return os_error(ENOTSUP);
    snapshots_.front().must = false;
    auto done = co_await image_->delete_snapshot(snapshots_.front().name);
    if (done) snapshots_.erase(snapshots_.begin());
    co_return done;
  }
  Task<Result<>> resize(std::uint64_t size) {
    disk_.resize(size);
    co_return co_await image_->resize(size, Preallocation::off);
  }
  Task<Result<>> flush() {
    CO_TRY_OK(co_await image_->flush());
    all_flushed();
    co_return ok();
  }
  void all_flushed() {
    if (unsure_) return;
    disk_.flushed();
    for (Held& snapshot : snapshots_) {
      snapshot.must = true;
      snapshot.disk.flushed();
    }
  }

  static bool is_marked_dirty(const storage::MemoryFile& file) {
    std::array<std::byte, 80> start{};
    file.read_now(0, start);
    return load_be<std::uint32_t>(start, format::at::version) >= 3 &&
           (load_be<std::uint64_t>(start, format::at::incompatible_features) &
            format::kIncompatibleDirty) != 0;
  }

  static std::string judge_check(World& world, const std::shared_ptr<storage::MemoryFile>& file) {
    std::string findings;
    const auto checked = run(world, check(file, {.finding = [&](std::string_view text) {
                                            findings += "\n    " + std::string(text);
                                          }}));
    if (!checked) return "check: " + checked.error().desc;
    if (checked->corruptions == 0 && checked->check_errors == 0) return {};
    return "check:" + findings;
  }

  std::string judge_content(World& world, const std::shared_ptr<storage::MemoryFile>& file) const {
    return judge_disk(world, file, {.writable = true}, disk_);
  }

  std::string judge_disk(World& world, const std::shared_ptr<storage::MemoryFile>& file,
                         OpenOptions options, const Sectors& disk) const {
    auto image = run(world, Image::open(world, file, std::move(options)));
    if (!image) return "open: " + image.error().desc;
    Nines backing(backing_.size());
    if (shape_.backed) (*image)->set_backing(&backing);
    std::vector<std::byte> read((*image)->size());
    if (const auto done = run(world, (*image)->read({0}, read)); !done)
      return "read: " + done.error().desc;
    if (const auto done = run(world, (*image)->close()); !done)
      return "close: " + done.error().desc;
    return disk.judge(read);
  }

  std::string judge_snapshots(World& world,
                              const std::shared_ptr<storage::MemoryFile>& file) const {
    const auto image = run(world, Image::open(world, file, false));
    if (!image) return "open: " + image.error().desc;
    for (const Held& held : snapshots_) {
      const Snapshot* snapshot = (*image)->find_snapshot(held.name);
      if (snapshot == nullptr && held.must) return "lost: " + held.name;
      if (snapshot == nullptr) continue;
      const std::string what = judge_disk(world, file, {.snapshot = held.name}, held.disk);
      if (!what.empty()) return held.name + ": " + what;
    }
    return {};
  }

  // Writing anywhere changes nothing elsewhere: no cluster that is in use is given out again.
  std::string judge_use(World& world, const std::shared_ptr<storage::MemoryFile>& file) const {
    auto opened = run(world, Image::open(world, file, true));
    if (!opened) return "open again: " + opened.error().desc;
    Image& image = **opened;
    Nines backing(backing_.size());
    if (shape_.backed) image.set_backing(&backing);
    std::vector<std::byte> before(image.size()), after(image.size());
    const std::vector<std::byte> data(cluster_, std::byte{0x77});
    const auto use = [&]() -> Task<Result<>> {
      CO_TRY_OK(co_await image.read({0}, before));
      for (std::uint64_t at = 0; at + cluster_ <= image.size(); at += 3 * cluster_) {
        CO_TRY_OK(co_await image.write({at}, data));
        std::ranges::copy(data, before.begin() + static_cast<std::ptrdiff_t>(at));
      }
      CO_TRY_OK(co_await image.read({0}, after));
      co_return co_await image.close();
    };
    if (const auto done = run(world, use()); !done) return "use: " + done.error().desc;
    if (before != after) return "use: a write changed what it did not touch";
    return judge_check(world, file);
  }

  Shape shape_;
  std::uint64_t cluster_;
  Sectors disk_;
  Nines backing_;
  std::vector<Held> snapshots_;
  std::shared_ptr<Image> image_;  // null: not open
  bool unsure_ = false;
  bool snapshots_used_ = false;
};

}  // namespace sim::qcow2::testing
