// -t and -T: what QEMU's cache modes mean here.

#pragma once

#include <optional>
#include <string>

#include "sim/storage/unflushed.h"
#include "sim/tool/invocation.h"

namespace sim::tool {

// The file system that a cache mode makes of the invocation's: `unsafe` does not flush, all others
// do.
class Cached {
 public:
  Cached(Invocation& invocation, const std::string& mode)
      : unflushed_(invocation.files()), context_(invocation.context(), mode, unflushed_) {}

  const image::Context& context() const { return context_.context; }

 private:
  // A Context refers to its file system, so it is made anew.
  struct Choice {
    Choice(const image::Context& given, const std::string& mode, storage::FileSystem& unflushed)
        : context{given.world, mode == "unsafe" ? unflushed : given.files, given.working_directory,
                  given.policy, given.secrets} {}
    image::Context context;
  };

  storage::UnflushedFiles unflushed_;
  Choice context_;
};

// Refuses a mode that QEMU does not know; `what` is "cache" or "source cache".
std::optional<int> check_cache_mode(const Invocation& invocation, const char* what,
                                    const std::string& mode);

}  // namespace sim::tool
