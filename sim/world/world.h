// Everything in sim/ that could differ between two runs lives in a World: the time, the order of
// pending work, chance, and the record of what happened.  Nothing else may ask.

#pragma once

#include <string_view>

#include "sim/base/check.h"
#include "sim/world/rng.h"
#include "sim/world/scheduler.h"
#include "sim/world/sync.h"
#include "sim/world/task.h"
#include "sim/world/trace.h"

namespace sim {

class World {
 public:
  explicit World(std::uint64_t seed) : seed(seed), rng(seed), context_(&World::describe, this) {}
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  void record(const char* what, std::string_view detail) {
    trace.record(scheduler.now().ns, what, detail);
  }
  void record(const char* what, std::uint64_t a, std::uint64_t b) {
    trace.record(scheduler.now().ns, what, a, b);
  }

  const std::uint64_t seed;
  Scheduler scheduler;
  Rng rng;
  Trace trace;

 private:
  static std::string describe(const void* world);
  CheckContext context_;
};

// Runs the scheduler until `task` has ended, and gives its value.  For entry points and tests, not
// for coroutines.  A task that can never end is our bug.
template <class T>
T run(World& world, Task<T> task) {
  std::optional<T> value;
  world.scheduler.spawn([](Task<T> inner, std::optional<T>& out) -> Task<void> {
    out.emplace(co_await std::move(inner));
  }(std::move(task), value));
  while (!value) CHECK(world.scheduler.step(), "the task waits for something that cannot happen");
  return *std::move(value);
}

}  // namespace sim
