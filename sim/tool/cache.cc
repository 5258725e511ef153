#include "sim/tool/cache.h"

#include <fmt/format.h>

#include <memory>

#include "sim/base/text.h"
#include "sim/storage/unflushed.h"

namespace sim::tool {

static std::shared_ptr<storage::Storage> without_flush(const std::string&,
                                                       std::shared_ptr<storage::Storage> file) {
  return std::make_shared<storage::Unflushed>(std::move(file));
}

// A Context refers to its file system, so it is made anew.
Cached::Cached(Invocation& invocation, const std::string& mode)
    : unflushed_(invocation.files(), without_flush),
      context_{invocation.world(),
               mode == "unsafe" ? unflushed_ : invocation.files(),
               invocation.context().working_directory,
               invocation.context().policy,
               invocation.context().secrets,
               invocation.context().warn} {}

std::optional<int> check_cache_mode(const Invocation& invocation, const char* what,
                                    const std::string& mode) {
  if (is_listed("none|off|writeback|writethrough|directsync|unsafe", mode)) return std::nullopt;
  return invocation.fail(fmt::format("Invalid {} option: {}", what, mode));
}

}  // namespace sim::tool
