#include "sim/base/bytes.h"

#include <cstring>

namespace sim {

bool all_zero(Bytes bytes) {
  if (bytes.empty()) return true;
  if (bytes.front() != std::byte{0}) return false;
  return std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace sim
