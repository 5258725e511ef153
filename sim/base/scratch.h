// Memory for the data of one request.

#pragma once

#include <cstddef>
#include <memory>

#include "sim/base/bytes.h"

namespace sim {

// `size` bytes that nobody has set: what uses them must write before it reads.
class Scratch {
 public:
  explicit Scratch(std::size_t size)
      : bytes_(std::make_unique_for_overwrite<std::byte[]>(size)), size_(size) {}

  operator MutableBytes() { return {bytes_.get(), size_}; }
  operator Bytes() const { return {bytes_.get(), size_}; }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t size_;
};

}  // namespace sim
