// Where drivers tell what they are about to do, so that requests can be made to fail or wait there
// (driver blkdebug; qemu-io's break and resume).

#pragma once

#include <string>
#include <string_view>

#include "sim/base/result.h"
#include "sim/world/task.h"

namespace sim::block {

class Debugger {
 public:
  virtual ~Debugger() = default;

  // The driver above is about to do what `event` (QAPI: BlkdebugEvent) names.  Rules of that event
  // come into force; the task ends when the caller may go on.
  virtual Task<void> raise(std::string_view event) = 0;

  // The next request that raises the event is held, under that name.  ENOENT: no such event.
  virtual Result<> set_breakpoint(std::string_view event, std::string tag) = 0;
  // The request that was held last under that name goes on; ENOENT if there is none.
  virtual Result<> resume(std::string_view tag) = 0;
  // Forgets breakpoints of that name, and lets go all that they hold; ENOENT if there are none.
  virtual Result<> remove_breakpoint(std::string_view tag) = 0;
  // Ends when a request is held under that name.
  virtual Task<void> wait_held(std::string tag) = 0;
  virtual bool holds_requests() const = 0;
  // Forgets all breakpoints and lets go all that is held.
  virtual void remove_all_breakpoints() = 0;
  // There are rules or breakpoints for what formats tell.
  virtual bool expects_events() const = 0;
};

}  // namespace sim::block
