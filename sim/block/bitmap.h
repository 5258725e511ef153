// A dirty bitmap: which granules of a node were written.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/result.h"

namespace sim::block {

class DirtyBitmap {
 public:
  // Covers `size` bytes in granules of `granularity` bytes (a power of two); all clean.
  DirtyBitmap(std::string name, std::uint64_t size, std::uint64_t granularity)
      : name_(std::move(name)),
        size_(size),
        granularity_(granularity),
        dirty_(div_up(size, granularity)) {}

  const std::string& name() const { return name_; }  // empty: a job's own
  void rename(std::string name) { name_ = std::move(name); }
  std::uint64_t granularity() const { return granularity_; }

  // Marks every granule that [offset, offset + length) touches; what is beyond the size is ignored.
  void set(std::uint64_t offset, std::uint64_t length) { assign(offset, length, true); }
  void reset(std::uint64_t offset, std::uint64_t length) { assign(offset, length, false); }
  bool is_dirty(std::uint64_t offset) const { return dirty_[offset / granularity_]; }

  // Offset of the first clean granule at or after `from`, a multiple of the granularity.
  std::optional<std::uint64_t> next_clean(std::uint64_t from) const;
  // Offset of the first dirty granule at or after `from`, a multiple of the granularity.
  std::optional<std::uint64_t> next_dirty(std::uint64_t from) const;
  // Dirty bytes: dirty granules, the last one counted as far as it exists.
  std::uint64_t count() const;

  // Sets what is set in `other`, whatever its granularity.
  void merge(const DirtyBitmap& other);
  void clear() { reset(0, size_); }
  // The node has another size: what is new is clean.
  void resize(std::uint64_t size);
  std::uint64_t size() const { return size_; }

  // Writes to the node are recorded.
  bool is_recording() const { return enabled && !read_only; }

  bool enabled = true;
  bool busy = false;          // an operation uses it: others may not
  bool persistent = false;    // stored in the image when that is closed
  bool inconsistent = false;  // the image was not closed well: good for removal only
  bool read_only = false;     // of an image that is open read-only
  // Records for this one while a backup uses it; it is one of its node's bitmaps, too.
  std::shared_ptr<DirtyBitmap> successor;

  // What an operation may not do with a bitmap (QEMU's texts, measured on 7.2).
  enum class Check : unsigned char {
    usable,      // not busy, consistent
    changeable,  // and not read-only
    present,     // not busy
    writable,    // not busy, not read-only
  };
  Result<> check(Check what) const;

 private:
  void assign(std::uint64_t offset, std::uint64_t length, bool dirty);

  std::string name_;
  std::uint64_t size_;
  std::uint64_t granularity_;
  std::vector<bool> dirty_;
  std::uint64_t dirty_granules_ = 0;
};

}  // namespace sim::block
