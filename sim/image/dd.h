// Some blocks of a disk as a new disk: what `qemu-img dd` does.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "sim/base/result.h"
#include "sim/image/open.h"

namespace sim::image {

struct DdRequest {
  OpenRequest source = {};
  std::string destination = {};
  std::string format = "raw";
  std::uint64_t block = 512;  // bytes; all counts are in blocks
  std::uint64_t skip = 0;
  std::optional<std::uint64_t> count = {};  // as QEMU 7.2 takes it: of the source, skipped too
  std::function<void(std::string_view text)> warning = {};
};

// Everything is stored, zeroes too.  Nothing is left behind if it fails.
Task<Result<>> dd(const Context& context, DdRequest request);

}  // namespace sim::image
