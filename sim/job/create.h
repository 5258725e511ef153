// blockdev-create: formats an image, as a job without READY and without BLOCK_JOB_… events.

#pragma once

#include <functional>

#include "sim/job/job.h"

namespace sim::job {

class Create final : public Job {
 public:
  // `work` does the creating; its error becomes the job's.
  Create(World& world, std::string id, std::function<Task<Result<>>()> work);

 protected:
  Task<Result<>> run() override;

 private:
  std::function<Task<Result<>>()> work_;
};

}  // namespace sim::job
