#include "sim/storage/counting.h"

namespace sim::storage {

Task<Result<>> Counting::read(std::uint64_t offset, MutableBytes into) {
  ++counts_.reads;
  counts_.read_bytes += into.size();
  return next().read(offset, into);
}

Task<Result<>> Counting::write(std::uint64_t offset, Bytes from) {
  ++counts_.writes;
  counts_.written_bytes += from.size();
  return next().write(offset, from);
}

Task<Result<>> Counting::write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) {
  ++counts_.zeroes;
  counts_.zeroed_bytes += length;
  return next().write_zeroes(offset, length, unmap);
}

Task<Result<>> Counting::discard(std::uint64_t offset, std::uint64_t length) {
  ++counts_.discards;
  counts_.discarded_bytes += length;
  return next().discard(offset, length);
}

Task<Result<>> Counting::flush() {
  ++counts_.flushes;
  return next().flush();
}

Task<Result<>> Counting::truncate(std::uint64_t size) {
  ++counts_.truncates;
  return next().truncate(size);
}

}  // namespace sim::storage
