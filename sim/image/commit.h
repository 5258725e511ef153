// An overlay's data into its base: what `qemu-img commit` does.

#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "sim/base/result.h"
#include "sim/image/open.h"

namespace sim::image {

struct CommitRequest {
  OpenRequest image = {};  // the overlay; opened for writing, with its chain
  std::string base = {};   // as it is named in the chain, or its path; empty: the backing file
  bool keep_data = false;  // -d: the overlay is not emptied; with `base` it never is
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};
};

// The base grows to the overlay's size if it is smaller.  Everything is flushed in the base before
// the overlay is emptied.
Task<Result<>> commit(const Context& context, CommitRequest request);

}  // namespace sim::image
