// Requests that are held where an event is raised (driver blkdebug; qemu-io's break and resume).

#pragma once

#include <string>
#include <string_view>

#include "sim/base/result.h"

namespace sim::block {

class Breakpoints {
 public:
  virtual ~Breakpoints() = default;
  // The next request that raises the event is held, under that name.  EINVAL: no such event.
  virtual Result<> set_breakpoint(std::string_view event, std::string tag) = 0;
  // Requests held under that name go on; ENOENT if there are none.
  virtual Result<> resume(std::string_view tag) = 0;
  // Forgets breakpoints of that name, and lets go what they hold; ENOENT if there are none.
  virtual Result<> remove_breakpoint(std::string_view tag) = 0;
  virtual bool is_held(std::string_view tag) const = 0;
};

}  // namespace sim::block
