#include "conformance/domain/errors.h"

#include <fmt/format.h>

namespace conformance::errors {

Failure unsupported_flags(std::uint32_t flags, std::string_view function) {
  return qemu("INVALID_ARG",
              fmt::format("unsupported flags ({:#x}) in function {}", flags, function));
}

Failure bandwidth_overflow() {
  return qemu("OVERFLOW", fmt::format("bandwidth must be less than {}", kMaxBandwidth >> 20));
}

Failure bandwidth_bytes_overflow() {
  return qemu("INVALID_ARG", fmt::format("bandwidth must be less than '{}' bytes/s ({} MiB/s)",
                                         kMaxBandwidth, kMaxBandwidth >> 20));
}

}  // namespace conformance::errors
