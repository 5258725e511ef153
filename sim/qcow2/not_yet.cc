// Declared, and not written yet.  Gone when its last function is.

#include "sim/qcow2/image.h"

namespace sim::qcow2 {

static Error not_yet(const char* what) {
  return os_error(ENOTSUP, std::string("understudy: not in this version: ") + what);
}


}  // namespace sim::qcow2
