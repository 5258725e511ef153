// Who wants to know what an image is about to do to its file, before it does it.

#pragma once

#include <string_view>

#include "sim/world/task.h"

namespace sim::qcow2 {

// An image that is observed makes QEMU's requests one for one: whole tables in QEMU's order, parts
// of clusters together with the data between them.  One that is not does the same with fewer
// bytes.
class Observer {
 public:
  virtual ~Observer() = default;
  // `moment`: a name of QAPI's BlkdebugEvent.  The image goes on when the task has ended.
  virtual Task<void> at(std::string_view moment) = 0;
};

}  // namespace sim::qcow2
