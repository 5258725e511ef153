// A filter that knows what a power cut would leave of a file.
//
// Everything up to the last flush is there.  Of the changes since, each may be there, be lost, or
// be torn: some of its sectors of 512 bytes are there and some are not.  Changes that were not
// flushed keep no order among each other, except that of two changes of the same sector the later
// hides the earlier if both are there.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "sim/storage/memory.h"
#include "sim/storage/storage.h"
#include "sim/world/rng.h"

namespace sim::storage {

// What the file holds when it is first changed through this filter counts as flushed.
class PowerCut final : public Filter {
 public:
  using Filter::Filter;

  // Called before a flush makes the changes last, with all of them still unflushed.
  void before_flush(std::function<void()> observer) { before_flush_ = std::move(observer); }

  // How many changes were made since the last flush.
  std::size_t unflushed() const { return changes_.size(); }

  // The file as it may be found: with those of the unflushed changes that `kept` says, in the order
  // in which they were made.
  using Kept = std::function<bool(std::size_t change)>;
  Task<Result<std::shared_ptr<MemoryFile>>> after_cut(const Kept& kept);
  // The same with torn changes: whether each is kept, lost or torn is drawn.
  Task<Result<std::shared_ptr<MemoryFile>>> after_cut(Rng& rng);

  // Cuts the power: the file itself becomes what after_cut() draws, and that counts as flushed.
  Task<Result<>> cut(Rng& rng);

  Task<Result<>> write(std::uint64_t offset, Bytes from) override;
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override;
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length) override;
  Task<Result<>> flush() override;
  Task<Result<>> truncate(std::uint64_t size) override;

 private:
  struct Change {
    enum class Kind : unsigned char { write, zero, discard, truncate };
    Kind kind = Kind::write;
    std::uint64_t offset = 0;  // of a truncation: the size
    std::uint64_t length = 0;
    std::vector<std::byte> data = {};  // of a write
  };

  Task<Result<>> begin();  // remembers the file as it was first found
  static void apply(const Change& change, MemoryFile& file);
  static void apply_torn(const Change& change, MemoryFile& file, Rng& rng);

  std::shared_ptr<MemoryFile> flushed_;  // null: nothing has changed yet
  std::vector<Change> changes_;
  std::function<void()> before_flush_;
};

// Copies all of `from` over `to`, holes as holes.
Task<Result<>> copy_file(Storage& from, Storage& to);

}  // namespace sim::storage
