// Memory for data on its way from file to file.

#pragma once

#include <cstddef>
#include <memory>
#include <new>

#include "sim/base/bytes.h"

namespace sim::image {

// Begins at a page: the system copies whole pages half as fast again if both sides do.  Its bytes
// are undefined.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes)
      : bytes_(static_cast<std::byte*>(::operator new(bytes, kPage))), size_(bytes) {}

  std::size_t size() const { return size_; }
  std::byte* data() const { return bytes_.get(); }
  MutableBytes first(std::size_t bytes) const { return {bytes_.get(), bytes}; }

 private:
  static constexpr std::align_val_t kPage{4096};
  struct Delete {
    void operator()(std::byte* bytes) const { ::operator delete(bytes, kPage); }
  };

  std::unique_ptr<std::byte, Delete> bytes_;
  std::size_t size_;
};

}  // namespace sim::image
