// Files that live in memory: sparse, quick to make and to throw away.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/storage/storage.h"

namespace sim::storage {

class PageArena;  // recycled pages of this thread, see memory.cc

// A sparse file in pages of 4 KiB.  A page is data once a byte of it was written, zeroes included;
// write_zeroes and discard of a whole page make it a hole again.  Never suspends.
//
// Offsets beyond kMaxSize are refused with EFBIG, as by a real file system.
class MemoryFile final : public Storage {
 public:
  static constexpr std::uint64_t kPageSize = 4096;
  static constexpr std::uint64_t kMaxSize = std::uint64_t{1} << 62;

  MemoryFile();
  ~MemoryFile() override;
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override;
  Task<Result<>> write(std::uint64_t offset, Bytes from) override;
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override;
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length) override;
  Task<Result<>> flush() override;
  Task<Result<>> truncate(std::uint64_t size) override;
  std::uint64_t size() const override { return size_; }
  Extent extent_at(std::uint64_t offset) const override;
  std::uint64_t allocated() const override { return pages_ * kPageSize; }

  // Another file with the same content.  They share their pages until one of them writes; both must
  // stay in the thread that made this one.
  std::shared_ptr<MemoryFile> copy() const;
  // Whether both read the same, and are as long; quick for copies of which little was changed.
  bool reads_as(const MemoryFile& other) const;

  // The same without a coroutine, for who knows that it is memory.  They cannot fail within
  // kMaxSize.
  void read_now(std::uint64_t offset, MutableBytes into) const;
  // Shows [offset, offset + length) in order, where it lies: pieces of data within a page, and
  // holes, which have a length and no bytes.  What is beyond the end of the file is a hole.
  using See = std::function<void(std::uint64_t length, Bytes bytes)>;
  void visit_now(std::uint64_t offset, std::uint64_t length, const See& see) const;
  void write_now(std::uint64_t offset, Bytes from);
  void write_zeroes_now(std::uint64_t offset, std::uint64_t length);
  void discard_now(std::uint64_t offset, std::uint64_t length);
  void truncate_now(std::uint64_t size);

 private:
  static constexpr std::uint64_t kLeafPages = 128;
  struct Leaf {
    std::array<std::byte*, kLeafPages> pages{};  // null is a hole
    std::uint64_t used = 0;
  };
  using Leaves = std::map<std::uint64_t, std::unique_ptr<Leaf>>;

  std::byte* page_at(std::uint64_t page) const;  // null for a hole
  std::byte*& slot_of(std::uint64_t page);
  // The page, this file's own, whose bytes [from, to) the caller is about to set.
  std::byte* page_to_write(std::uint64_t page, std::uint64_t from, std::uint64_t to);
  void drop_pages(std::uint64_t first, std::uint64_t last);
  void zero_now(std::uint64_t offset, std::uint64_t length);

  std::shared_ptr<PageArena> arena_;
  Leaves leaves_;
  mutable std::uint64_t last_index_ = UINT64_MAX;  // the leaf that was used last
  mutable Leaf* last_leaf_ = nullptr;
  std::uint64_t size_ = 0;
  std::uint64_t pages_ = 0;
};

// A file system of MemoryFiles.  Handles share the file; a handle that was opened read-only refuses
// every change with EBADF.  A removed file lives as long as a handle to it.  Directories are not
// kept: a name that is a prefix of a file's, up to a slash, is one.
class MemoryFiles final : public FileSystem {
 public:
  Result<std::shared_ptr<Storage>> open(const std::string& path, Access access) override;
  Result<std::shared_ptr<Storage>> create(const std::string& path) override;
  bool exists(const std::string& path) const override;
  Result<> remove(const std::string& path) override;
  Result<> rename(const std::string& from, const std::string& to) override;
  Result<std::string> canonical(const std::string& path) const override { return path; }
  std::vector<std::string> list(const std::string& directory) const override;

  // From here on files are only made in this directory; ENOENT elsewhere.
  void restrict_to(std::string directory) { only_in_ = std::move(directory); }

  // Puts a file there, in the place of one that is.
  void put(const std::string& path, std::shared_ptr<MemoryFile> file) {
    files_[path] = std::move(file);
  }
  // The file itself, or null.
  std::shared_ptr<MemoryFile> find(const std::string& path) const;

 private:
  bool is_directory(const std::string& path) const;

  std::map<std::string, std::shared_ptr<MemoryFile>, std::less<>> files_;
  std::string only_in_;
};

// A handle that refuses every change with EBADF, as write(2) on a file opened O_RDONLY does.
class ReadOnly final : public Filter {
 public:
  using Filter::Filter;
  Task<Result<>> write(std::uint64_t offset, Bytes from) override;
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override;
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length) override;
  Task<Result<>> truncate(std::uint64_t size) override;
};

}  // namespace sim::storage
