#include "sim/tool/cache.h"

#include <fmt/format.h>

#include "sim/base/text.h"

namespace sim::tool {

std::optional<int> check_cache_mode(const Invocation& invocation, const char* what,
                                    const std::string& mode) {
  if (is_listed("none|off|writeback|writethrough|directsync|unsafe", mode)) return std::nullopt;
  return invocation.fail(fmt::format("Invalid {} option: {}", what, mode));
}

}  // namespace sim::tool
