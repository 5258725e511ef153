// Where bytes live.  A Filter is a Storage in front of a Storage: override the one call you care
// about, inherit the rest.
//
// Everything is a coroutine, because any of it may have to wait; memory and plain files complete
// without suspending.  Buffers must live until the task has ended.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/result.h"
#include "sim/world/task.h"

namespace sim::storage {

// A stretch of a file: `length` bytes that are stored (`data`), or a hole that reads as zeroes.
struct Extent {
  std::uint64_t length = 0;
  bool data = false;
};

// What the user of a file does with it, and what he bears that others do meanwhile.
struct Claim {
  bool reads = true;    // the guest's data: others must not make it worthless
  bool writes = false;  // and sets the file's length
  bool others_may_write = true;
  bool others_may_resize = true;
};

class Storage {
 public:
  virtual ~Storage() = default;

  // Fills `into` from `offset`; bytes at or beyond the end of the file read as zeroes.
  virtual Task<Result<>> read(std::uint64_t offset, MutableBytes into) = 0;
  // Stores `from`; the file grows if it must, the gap reads as zeroes.
  virtual Task<Result<>> write(std::uint64_t offset, Bytes from) = 0;
  // Makes [offset, offset + length) read as zeroes and, with `unmap`, gives the space back.  Grows
  // the file like write().
  virtual Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) = 0;
  // Gives back the space of a range, which then reads as zeroes; never grows the file.
  virtual Task<Result<>> discard(std::uint64_t offset, std::uint64_t length) = 0;
  // After it, everything written before survives a power cut.
  virtual Task<Result<>> flush() = 0;
  // Sets the length of the file; what is new reads as zeroes.
  virtual Task<Result<>> truncate(std::uint64_t size) = 0;

  // Length of the file in bytes.
  virtual std::uint64_t size() const = 0;
  // The longest known stretch of one kind that starts at `offset` (< size()).
  virtual Extent extent_at(std::uint64_t offset) const = 0;
  // Bytes of stored data, in whole allocation units (as st_blocks * 512 is).
  virtual std::uint64_t allocated() const = 0;

  // Claims the file until its handle goes, against all other handles that claim it, also those of
  // other programs (docs/decisions/locks.md).  Refused in QEMU's words with EAGAIN if they do not
  // go together.  Files in memory, and file systems without such locks, know no claims.
  virtual Result<> claim(const Claim& /*claim*/) { return ok(); }

  // The bytes of a range where they lie, without copying them; until the next view() of the file,
  // or its end.  What others write to it may show.  Empty: not here, not now; read() can.
  virtual Bytes view(std::uint64_t /*offset*/, std::uint64_t /*length*/) { return {}; }
  // False: part of what was looked at in the last view() is not what the file holds (it could not
  // be had); read() can, or knows why not.
  virtual bool view_held() const { return true; }
};

class Filter : public Storage {
 public:
  explicit Filter(std::shared_ptr<Storage> next) : next_(std::move(next)) {}
  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override {
    return next_->read(offset, into);
  }
  Task<Result<>> write(std::uint64_t offset, Bytes from) override {
    return next_->write(offset, from);
  }
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override {
    return next_->write_zeroes(offset, length, unmap);
  }
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length) override {
    return next_->discard(offset, length);
  }
  Task<Result<>> flush() override { return next_->flush(); }
  Task<Result<>> truncate(std::uint64_t size) override { return next_->truncate(size); }
  std::uint64_t size() const override { return next_->size(); }
  Extent extent_at(std::uint64_t offset) const override { return next_->extent_at(offset); }
  std::uint64_t allocated() const override { return next_->allocated(); }
  Result<> claim(const Claim& claim) override { return next_->claim(claim); }

 protected:
  Storage& next() { return *next_; }
  const Storage& next() const { return *next_; }

 private:
  std::shared_ptr<Storage> next_;
};

enum class Access : unsigned char { read_only, read_write };

// Names to Storages.  Names are absolute paths; there are no links and no working directory.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  // Errors carry the errno an open(2) would give (ENOENT, EISDIR, …) and its text, without the
  // name.
  virtual Result<std::shared_ptr<Storage>> open(const std::string& path, Access access) = 0;
  // Makes an empty file, or empties the one that is there.
  virtual Result<std::shared_ptr<Storage>> create(const std::string& path) = 0;
  // Makes an empty file where nothing is (EEXIST else; links are not followed).  It may be read and
  // written by whom the file at `like` may be, if there is one.
  virtual Result<std::shared_ptr<Storage>> create_new(const std::string& path,
                                                      const std::string& like) {
    (void)like;
    if (exists(path)) return os_error(EEXIST);
    return create(path);
  }
  virtual bool exists(const std::string& path) const = 0;
  virtual Result<> remove(const std::string& path) = 0;
  // `to` becomes what `from` is, at once; what was at `to` is gone.
  virtual Result<> rename(const std::string& from, const std::string& to) = 0;
  // The path with every link resolved; of a file that is not there yet, its directory's.
  virtual Result<std::string> canonical(const std::string& path) const = 0;
  // Paths of all files beneath `directory`, sorted.
  virtual std::vector<std::string> list(const std::string& directory) const = 0;
};

}  // namespace sim::storage
