#include "conformance/domain/errors.h"

#include <fmt/format.h>

#include <limits>

namespace conformance::errors {

namespace {
constexpr std::uint64_t kMaxBytes = std::numeric_limits<std::int64_t>::max();
}

Failure unsupported_flags(std::uint32_t flags, std::string_view function) {
  return qemu("INVALID_ARG",
              fmt::format("unsupported flags ({:#x}) in function {}", flags, function));
}

Failure bandwidth_overflow() {
  return qemu("OVERFLOW", fmt::format("bandwidth must be less than {}", kMaxBytes >> 20));
}

Failure bandwidth_bytes_overflow() {
  return qemu("INVALID_ARG", fmt::format("bandwidth must be less than '{}' bytes/s ({} MiB/s)",
                                         kMaxBytes, kMaxBytes >> 20));
}

}  // namespace conformance::errors
