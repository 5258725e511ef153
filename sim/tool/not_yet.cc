// Declared, and not written yet.  A command moves to a file of its own; gone when its last has.

#include "sim/tool/invocation.h"
#include "sim/tool/tool.h"

namespace sim::tool {

static Task<int> not_yet(Invocation& invocation) {
  co_return invocation.fail("'" + invocation.command() + "' is not in this version", 2);
}

Task<int> measure_command(Invocation& invocation) { return not_yet(invocation); }

}  // namespace sim::tool
