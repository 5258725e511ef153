// A filter that counts what passes, and changes nothing.

#pragma once

#include <cstdint>
#include <memory>

#include "sim/storage/storage.h"

namespace sim::storage {

struct Counts {
  std::uint64_t reads = 0, read_bytes = 0;
  std::uint64_t writes = 0, written_bytes = 0;
  std::uint64_t zeroes = 0, zeroed_bytes = 0;
  std::uint64_t discards = 0, discarded_bytes = 0;
  std::uint64_t flushes = 0;
  std::uint64_t truncates = 0;
  friend bool operator==(const Counts&, const Counts&) = default;
};

class Counting final : public Filter {
 public:
  using Filter::Filter;
  const Counts& counts() const { return counts_; }

  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override;
  Task<Result<>> write(std::uint64_t offset, Bytes from) override;
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override;
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length) override;
  Task<Result<>> flush() override;
  Task<Result<>> truncate(std::uint64_t size) override;

 private:
  Counts counts_;
};

}  // namespace sim::storage
