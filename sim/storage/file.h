// Real files, by POSIX calls.  The calls block; nothing here suspends.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sim/storage/storage.h"
#include "sim/storage/window.h"

namespace sim::storage {

// What flush() means for a real file: `safe` waits for the disk, `unsafe` does not (QEMU's
// cache.no-flush), for files that nobody needs after a power cut.
enum class Flush : unsigned char { safe, unsafe };

// Owns an open file descriptor of a regular file.
class RealFile final : public Storage {
 public:
  // Takes over `descriptor`, which must refer to a regular file.
  // Without `locks` try_hold() and hold() do nothing.
  RealFile(int descriptor, Flush flush, bool locks = true)
      : descriptor_(descriptor), flush_(flush), locks_(locks) {}
  ~RealFile() override;
  RealFile(const RealFile&) = delete;
  RealFile& operator=(const RealFile&) = delete;

  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override;
  Task<Result<>> write(std::uint64_t offset, Bytes from) override;
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override;
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length) override;
  Task<Result<>> flush() override;
  Task<Result<>> truncate(std::uint64_t size) override;
  std::uint64_t size() const override;
  Extent extent_at(std::uint64_t offset) const override;
  std::uint64_t allocated() const override;
  // QEMU's image locks: advisory, by bytes of the file that need not exist.
  Result<> claim(const Claim& claim) override;
  // The same for one who changes what it holds: bit n of `held` and `unshared` is QEMU's permission
  // n (0 consistent read, 1 write, 2 write unchanged, 3 resize).  try_hold() keeps what is held and
  // takes the rest too, or is refused in QEMU's words with EAGAIN and takes nothing; hold() then
  // gives up what is not listed.  On file systems without such locks both do nothing.
  Result<> try_hold(unsigned held, unsigned unshared);
  void hold(unsigned held, unsigned unshared);
  Bytes view(std::uint64_t offset, std::uint64_t length) override {
    return window_.show(descriptor_, offset, length);
  }
  bool view_held() const override { return window_.held(); }

 private:
  Result<> write_now(std::uint64_t offset, Bytes from);
  Result<> zero_now(std::uint64_t offset, std::uint64_t length, bool unmap);

  int descriptor_;
  Flush flush_;
  bool locks_;
  unsigned held_ = 0, unshared_ = 0;  // by hold()
  Window window_;
};

// The system's files.  Names are used as they are given; only regular files are opened.
class RealFiles final : public FileSystem {
 public:
  // Files that nobody else can know need no `locks`; those of a process that forks are held by the
  // child until it becomes another program.
  explicit RealFiles(Flush flush = Flush::safe, bool locks = true) : flush_(flush), locks_(locks) {}
  Result<std::shared_ptr<Storage>> open(const std::string& path, Access access) override;
  Result<std::shared_ptr<Storage>> create(const std::string& path) override;
  Result<std::shared_ptr<Storage>> create_new(const std::string& path,
                                              const std::string& like) override;
  bool exists(const std::string& path) const override;
  Result<> remove(const std::string& path) override;
  Result<> rename(const std::string& from, const std::string& to) override;
  Result<std::string> canonical(const std::string& path) const override;
  std::vector<std::string> list(const std::string& directory) const override;

 private:
  Flush flush_;
  bool locks_;
};

}  // namespace sim::storage
