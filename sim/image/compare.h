// What `qemu-img compare` does: whether two guests would see the same.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "sim/base/result.h"
#include "sim/image/layer.h"
#include "sim/world/task.h"

namespace sim::image {

struct CompareOptions {
  // Also what is allocated and where zeroes are known must agree, and the sizes.
  bool strict = false;
  // Called now and then with how many bytes are done, and of how many.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};
};

struct Difference {
  enum class Kind : unsigned char { size, status, content };
  Kind kind = Kind::content;
  std::uint64_t offset = 0;  // of the first sector that differs; where the status changes
};

// The first difference; nothing if there is none.  Where one is longer, the rest of it must read as
// zeroes.  An error says in which image (`first`), of what.
struct CompareError {
  Error error;
  bool in_first = false;
  bool reading = false;  // else asking for the status
  std::uint64_t offset = 0;
};
struct Comparison {
  std::optional<Difference> difference = {};
  std::optional<CompareError> error = {};
};
Task<Comparison> compare(Layer& first, Layer& second, CompareOptions options);

}  // namespace sim::image
