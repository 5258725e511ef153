// Which format a file has.

#pragma once

#include <string_view>

#include "sim/base/bytes.h"

namespace sim::image {

inline constexpr std::uint64_t kRecogniseBytes = 2048;  // as QEMU looks at

// The format that the first bytes of a file show, as QEMU recognises it: "qcow2", "raw", or the
// name of one that is not in this version ("vmdk", …).
std::string_view recognise(Bytes start);

// True for a format of QEMU's that is not in this version.
bool is_other_format(std::string_view name);
// Any format's name: of this version's, or of one of those.
inline bool is_format(std::string_view name) {
  return name == "raw" || name == "qcow2" || is_other_format(name);
}

}  // namespace sim::image
