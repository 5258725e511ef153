#include "conformance/property/block_copy_case.h"

#include <algorithm>

#include "conformance/model/domain_model.h"
#include "conformance/run/describe.h"
#include "sim/base/bytes.h"

namespace conformance::property {

namespace {

constexpr const char* kDisk = "vda";
constexpr const char* kModelDirectory = "/dir";

// Writes the steps down and does to the model what they do.
class Planner {
 public:
  Planner(const BlockCopyCase& drawn, Scenario& scenario)
      : drawn_(drawn), scenario_(scenario), model_(kModelDirectory) {
    describe(scenario, [](const std::string&) { return std::nullopt; }, model_);
  }

  std::optional<std::string> plan() {
    const model::CallPrediction start = rebase();
    if (start.unknown) return start.unknown;
    if (start.accepted()) follow(start.course);
    guest(drawn_.afterwards);
    return std::nullopt;
  }

 private:
  void follow(model::Course course) {
    if (course == model::Course::fails) return wait("failed");
    if (course == model::Course::held) {
      guest(drawn_.while_held);
      if (drawn_.early_pivot) end_job({"pivot"});
      if (drawn_.end == End::early_abort) {
        end_job({});
        return wait("canceled");
      }
    }
    // A job that nothing holds is ready before or after the limit is lifted: only one is
    // repeatable.
    const bool holds = drawn_.held && course != model::Course::ready;
    if (holds) release();
    wait("ready");
    model_.on_ready(kDisk);
    if (drawn_.held && !holds) release();
    guest(drawn_.while_ready);
    switch (drawn_.end) {
      case End::abort:
      case End::early_abort:
        end_job({});
        return wait("canceled");
      case End::abort_async:
        end_job({"async"});
        return wait("canceled");
      case End::pivot:
        end_job({"pivot"});
        return wait("completed");
      case End::leave:
        return;
    }
  }

  model::CallPrediction rebase() {
    CallStep call;
    call.disk = kDisk;
    call.base = "${dir}/" + drawn_.destination;
    call.flags = {"copy"};
    std::ranges::copy(drawn_.flags, std::back_inserter(call.flags));
    if (drawn_.held) {
      call.bandwidth = 1;
      call.flags.emplace_back("bandwidth-bytes");
    }
    const std::string base = std::string(kModelDirectory) + "/" + drawn_.destination;
    const auto prediction = model_.block_rebase(kDisk, base, call.bandwidth, bits_of(call));
    add(std::move(call));
    return prediction;
  }

  void release() {
    CallStep call;
    call.api = CallStep::Api::block_job_set_speed;
    call.disk = kDisk;
    (void)model_.block_job_set_speed(kDisk, 0, 0);
    add(std::move(call));
  }

  void end_job(std::vector<std::string> flags) {
    CallStep call;
    call.api = CallStep::Api::block_job_abort;
    call.disk = kDisk;
    call.flags = std::move(flags);
    (void)model_.block_job_abort(kDisk, bits_of(call));
    add(std::move(call));
  }

  void wait(const std::string& status) {
    WaitStep step;
    step.disk = kDisk;
    step.status = status;
    add(std::move(step));
  }

  // The model need not be told: what it predicts of the calls does not depend on the guest.
  void guest(const std::vector<GuestStep>& steps) {
    for (const GuestStep& step : steps) add(step);
  }

  template <class Action>
  void add(Action action) {
    scenario_.steps.push_back({std::move(action), {}});
  }

  const BlockCopyCase& drawn_;
  Scenario& scenario_;
  model::DomainModel model_;
};

void clip(std::vector<GuestStep>& steps, std::uint64_t size) {
  std::erase_if(steps, [&](GuestStep& step) {
    if (step.operation == GuestStep::Operation::flush) return false;
    if (step.offset >= size) return true;
    step.length = std::min(step.length, size - step.offset);
    return step.length == 0;
  });
}

}  // namespace

PlannedScenario to_scenario(const BlockCopyCase& drawn, std::string id) {
  PlannedScenario planned;
  Scenario& scenario = planned.scenario;
  scenario.id = std::move(id);
  scenario.title = "A random block copy";
  scenario.because = "the model and every target agree on any block copy";
  scenario.images = drawn.images;
  scenario.disks = {{kDisk, drawn.active}};
  planned.unknown = Planner(drawn, scenario).plan();
  return planned;
}

void repair(BlockCopyCase& drawn) {
  repair(drawn.images);
  const auto active = std::ranges::find(drawn.images, drawn.active, &Image::name);
  const std::uint64_t size = active == drawn.images.end() ? 0 : active->size;
  for (std::vector<GuestStep>* steps : {&drawn.while_held, &drawn.while_ready, &drawn.afterwards})
    clip(*steps, size);
  if (!drawn.held) {
    drawn.while_held.clear();
    drawn.early_pivot = false;
  }
}

}  // namespace conformance::property
