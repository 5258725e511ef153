#include "sim/job/create.h"

namespace sim::job {

Create::Create(World& world, std::string id, std::function<Task<Result<>>()> work, std::string type)
    : Job(world, std::move(type), {std::move(id), true, false}), work_(std::move(work)) {}

Task<Result<>> Create::run() {
  set_total(1);
  Result<> result = co_await work_();
  advance(1);
  co_return result;
}

}  // namespace sim::job
