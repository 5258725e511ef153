#include "sim/world/world.h"

#include <fmt/format.h>

namespace sim {

std::string World::describe(const void* world) {
  const World& self = *static_cast<const World*>(world);
  return fmt::format("seed {}, trace {:016x}, last:\n{}", self.seed, self.trace.hash(),
                     self.trace.last_lines());
}

}  // namespace sim
