// One piece of work as a job without READY and without BLOCK_JOB_… events: blockdev-create, which
// formats an image, x-blockdev-amend, and snapshots of the machine.

#pragma once

#include <functional>

#include "sim/job/job.h"

namespace sim::job {

class Create final : public Job {
 public:
  // `work` does it; its error becomes the job's.  `type` is QAPI's JobType.
  Create(World& world, std::string id, std::function<Task<Result<>>()> work,
         std::string type = "create");

 protected:
  Task<Result<>> run() override;

 private:
  std::function<Task<Result<>>()> work_;
};

}  // namespace sim::job
