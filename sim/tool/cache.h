// -t and -T: what QEMU's cache modes mean here.

#pragma once

#include <optional>
#include <string>

#include "sim/storage/filtered_files.h"
#include "sim/tool/invocation.h"

namespace sim::tool {

// The invocation's context in a cache mode: `unsafe` does not flush, all others do.
class Cached {
 public:
  Cached(Invocation& invocation, const std::string& mode);
  Cached(const Cached&) = delete;
  Cached& operator=(const Cached&) = delete;

  const image::Context& context() const { return context_; }

 private:
  storage::FilteredFiles unflushed_;
  image::Context context_;
};

// Refuses a mode that QEMU does not know; `what` is "cache" or "source cache".
std::optional<int> check_cache_mode(const Invocation& invocation, const char* what,
                                    const std::string& mode);

}  // namespace sim::tool
