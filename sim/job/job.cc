#include "sim/job/job.h"
#include "sim/base/text.h"

#include <fmt/format.h>

#include <algorithm>

namespace sim::job {

static constexpr Duration kSlice = milliseconds(100);

Job::Job(World& world, std::string type, Settings settings)
    : world_(world),
      type_(std::move(type)),
      settings_(std::move(settings)),
      entrance_(world.scheduler) {}

void Job::change_status(Status status) {
  CHECK(kRules.next(status_, status), "a status change that the table forbids");
  status_ = status;
  world_.record("job", fmt::format("{} {}", id(), name_of(status)));
  observer_->status_changed(*this);
}

Result<> Job::accept(Verb verb) const {
  if (kRules.accepts(verb, status_)) return ok();
  return Error{ErrorClass::generic,
               fmt::format("Job '{}' in state '{}' cannot accept command verb '{}'", id(),
                           name_of(status_), name_of(verb))};
}

bool Job::is_ready() const { return status_ == Status::ready || status_ == Status::standby; }

void Job::start(std::shared_ptr<Job> self, Observer& observer) {
  observer_ = &observer;
  change_status(Status::created);
  started_ = true;
  busy_ = true;
  change_status(Status::running);
  world_.scheduler.spawn(main(std::move(self)));
}

void Job::fail_early(Observer& observer) {
  observer_ = &observer;
  if (never_was_) return clean(false);
  change_status(Status::created);
  clean(false);
  change_status(Status::null);
}

Task<void> Job::main(std::shared_ptr<Job> self) {
  co_await self->pause_point();
  Result<> result = co_await self->run();
  self->deferred_ = true;
  self->busy_ = false;
  co_await self->world_.scheduler.yield();  // QEMU: a bottom half in the main loop
  co_await self->end(std::move(result));
}

// --- waiting -------------------------------------------------------------------------------------

Task<void> Job::suspend() {
  busy_ = false;
  co_await entrance_.wait();
  waking_ = false;
  busy_ = true;
}

Task<void> Job::pause_point() {
  while (should_pause() && !is_cancelled()) {
    const Status before = status_;
    change_status(before == Status::ready ? Status::standby : Status::paused);
    paused_ = true;
    co_await suspend();
    paused_ = false;
    change_status(before);
  }
}

Task<void> Job::sleep(Duration duration) {
  if (is_cancelled()) co_return;
  if (duration == Duration{}) {  // others come first, nothing more
    co_await world_.scheduler.yield();
  } else if (!should_pause()) {
    timer_ = world_.scheduler.after(duration, [this] {
      timer_.reset();
      enter();
    });
    co_await suspend();
  }
  co_await pause_point();
}

Task<void> Job::idle() {
  if (is_cancelled()) co_return;
  if (!should_pause()) co_await suspend();
  co_await pause_point();
}

bool Job::has_settled() const {
  if (deferred_) return true;
  if (busy_ || waking_) return false;
  return !timer_ || timer_->first > world_.scheduler.now();
}

void Job::enter() {
  if (!started_ || deferred_ || busy_) return;
  if (timer_) world_.scheduler.cancel(*timer_);
  timer_.reset();
  busy_ = true;
  waking_ = true;
  entrance_.wake_one();
}

Duration Job::delay_after(std::uint64_t bytes) {
  if (speed_ == 0) return {};
  const Instant now = world_.scheduler.now();
  const std::uint64_t quota = std::max<std::uint64_t>(speed_ / 10, 1);  // of one slice
  if (slice_end_ < now) {
    slice_start_ = now;
    slice_end_ = now + kSlice;
    dispatched_ = 0;
  }
  dispatched_ += bytes;
  if (dispatched_ < quota) return {};
  const unsigned __int128 ns = static_cast<unsigned __int128>(dispatched_) * kSlice.ns / quota;
  const std::uint64_t longest = UINT64_MAX / 2;
  slice_end_ = slice_start_ + Duration{ns > longest ? longest : static_cast<std::uint64_t>(ns)};
  return {slice_end_.ns - now.ns};
}

// --- verbs ---------------------------------------------------------------------------------------

Result<> Job::pause() {
  TRY_OK(accept(Verb::pause));
  if (user_paused_) return Error{ErrorClass::generic, "Job is already paused"};
  user_paused_ = true;
  ++pause_count_;
  if (!paused_) enter();  // measured on 7.2: a job that sleeps for its speed pauses at once
  return ok();
}

Result<> Job::resume() {
  if (!user_paused_ || pause_count_ <= 0)
    return Error{ErrorClass::generic, "Can't resume a job that was not paused"};
  TRY_OK(accept(Verb::resume));
  user_resumed();
  user_paused_ = false;
  drain_end();
  return ok();
}

void Job::pause_for_error() {
  if (user_paused_) return;
  user_paused_ = true;
  ++pause_count_;
}

void Job::drain_begin() {
  ++pause_count_;
  if (!paused_) enter();
}

void Job::drain_end() {
  CHECK(pause_count_ > 0);
  if (--pause_count_ == 0 && paused_) enter();
}

Result<> Job::set_speed(std::int64_t bytes_per_second) {
  TRY_OK(accept(Verb::set_speed));
  if (bytes_per_second < 0)
    return Error{ErrorClass::generic, "Parameter 'speed' expects a non-negative value"};
  const std::uint64_t before = speed_;
  speed_ = static_cast<std::uint64_t>(bytes_per_second);
  if (speed_ != 0 && speed_ <= before) return ok();
  slice_end_ = {};
  if (timer_) enter();  // only out of a sleep, not out of a pause
  return ok();
}

Result<> Job::do_complete() {
  return Error{ErrorClass::generic,
               fmt::format("The active block job '{}' cannot be completed", id())};
}

Result<> Job::complete() {
  TRY_OK(accept(Verb::complete));
  if (cancel_requested_) return Job::do_complete();
  return do_complete();
}

Result<> Job::cancel(bool force) {
  TRY_OK(accept(Verb::cancel));
  force = is_forced(force);
  if (user_paused_) {
    user_paused_ = false;
    --pause_count_;
  }
  if (deferred_) {  // waiting or pending: only force can still stop it
    if (!force) return ok();
    cancel_requested_ = forced_ = true;
    abort_with(os_error(ECANCELED));
    return ok();
  }
  cancel_requested_ = true;
  forced_ = forced_ || force;
  enter();
  return ok();
}

Result<> Job::finalize() {
  TRY_OK(accept(Verb::finalize));
  world_.scheduler.spawn(finish(shared_from_this()));
  return ok();
}

Result<> Job::dismiss() {
  TRY_OK(accept(Verb::dismiss));
  change_status(Status::null);
  return ok();
}

// --- the end -------------------------------------------------------------------------------------

void Job::become_ready() {
  change_status(Status::ready);
  observer_->ready(*this);
}

Task<void> Job::end(Result<> result) {
  if (is_cancelled()) result = os_error(ECANCELED);
  if (result)
    co_await succeed();
  else
    abort_with(std::move(result).error());
}

Task<void> Job::succeed() {
  change_status(Status::waiting);
  change_status(Status::pending);
  if (settings_.auto_finalize)
    co_await finish(shared_from_this());
  else
    observer_->pending(*this);
}

Task<void> Job::finish(std::shared_ptr<Job> self) {
  if (Result<> prepared = co_await self->prepare(); !prepared) {
    self->abort_with(std::move(prepared).error());
    co_return;
  }
  self->clean(true);
  self->observer_->completed(*self);
  self->conclude();
}

void Job::abort_with(Error error) {
  error_ = std::move(error.desc);
  change_status(Status::aborting);
  clean(false);
  if (is_cancelled())
    observer_->cancelled(*this);
  else
    observer_->completed(*this);
  conclude();
}

void Job::conclude() {
  change_status(Status::concluded);
  if (settings_.auto_dismiss) change_status(Status::null);
}

// --- all jobs ------------------------------------------------------------------------------------

Result<> Jobs::check_new_id(const std::string& id) const {
  if (!is_well_formed_id(id))
    return Error{ErrorClass::generic, fmt::format("Invalid job ID '{}'", id)};
  if (find(id)) return Error{ErrorClass::generic, fmt::format("Job ID '{}' already in use", id)};
  return ok();
}

void Jobs::start(std::shared_ptr<Job> job) {
  std::erase_if(jobs_, [](const auto& old) { return old->status() == Status::null; });
  jobs_.insert(jobs_.begin(), job);
  Job& started = *job;
  started.start(std::move(job), observer_);
}

std::shared_ptr<Job> Jobs::find(const std::string& id) const {
  for (const auto& job : jobs_)
    if (job->id() == id && job->status() != Status::null) return job;
  return nullptr;
}

std::vector<std::shared_ptr<Job>> Jobs::all() const {
  std::vector<std::shared_ptr<Job>> alive;
  for (const auto& job : jobs_)
    if (job->status() != Status::null) alive.push_back(job);
  return alive;
}

}  // namespace sim::job
