// Another backing file for an overlay: what `qemu-img rebase` does.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "sim/base/result.h"
#include "sim/image/open.h"

namespace sim::image {

struct RebaseRequest {
  OpenRequest image = {};
  std::string backing = {};         // as it is to be stored; empty: none
  std::string backing_format = {};  // as it is to be stored
  bool unsafe = false;              // -u: the header only; nothing is opened beneath
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};
};

// Copies into the overlay what it would show differently over the new backing file, as sectors
// that differ; then changes the header, so that a failure leaves the old chain valid.
Task<Result<>> rebase(const Context& context, RebaseRequest request);

}  // namespace sim::image
