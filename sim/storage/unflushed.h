// A filter for what nobody needs after a power cut (QEMU's cache=unsafe).

#pragma once

#include "sim/storage/storage.h"

namespace sim::storage {

// A handle whose flush() does nothing.
class Unflushed final : public Filter {
 public:
  using Filter::Filter;
  Task<Result<>> flush() override { co_return ok(); }
  Bytes view(std::uint64_t offset, std::uint64_t length) override {
    return next().view(offset, length);
  }
  bool view_held() const override { return next().view_held(); }
};

}  // namespace sim::storage
