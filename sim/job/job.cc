#include "sim/job/job.h"
#include "sim/base/text.h"

#include <fmt/format.h>

#include <algorithm>

namespace sim::job {

Job::Job(World& world, std::string type, Settings settings)
    : world_(world),
      type_(std::move(type)),
      settings_(std::move(settings)),
      entrance_(world.scheduler),
      end_(world.scheduler) {}

void Job::change_status(Status status) {
  CHECK(kRules.next(status_, status), "a status change that the table forbids");
  status_ = status;
  world_.record("job", fmt::format("{} {}", id(), name_of(status)));
  observer_->status_changed(*this);
}

Result<> Job::accept(Verb verb) const {
  if (kRules.accepts(verb, status_) && !refuses(verb)) return ok();
  return Error{ErrorClass::generic,
               fmt::format("Job '{}' in state '{}' cannot accept command verb '{}'", id(),
                           name_of(status_), name_of(verb))};
}

bool Job::is_ready() const { return status_ == Status::ready || status_ == Status::standby; }

void Job::create(Observer& observer, std::shared_ptr<Transaction> transaction) {
  observer_ = &observer;
  if (!transaction) transaction = std::make_shared<Transaction>();
  transaction->jobs.insert(transaction->jobs.begin(), shared_from_this());
  transaction_ = std::move(transaction);
  change_status(Status::created);
}

void Job::start() {
  started_ = true;
  busy_ = true;
  change_status(Status::running);
  world_.scheduler.spawn(main(shared_from_this()));
}

void Job::cancel_unstarted() {
  CHECK(!started_);
  deferred_ = true;
  cancel_requested_ = forced_ = true;
  fail(os_error(ECANCELED));
  world_.scheduler.spawn(abort_all(shared_from_this()));
}

void Job::abandon() {
  if (transaction_) transaction_->jobs.clear();
  let_go();
  dismissed();
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
  if (!should_pause() || is_past_pausing()) co_return;
  co_await about_to_pause();
  const Status before = status_;
  change_status(before == Status::ready ? Status::standby : Status::paused);
  paused_ = true;
  co_await suspend();
  paused_ = false;
  change_status(before);
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

// --- verbs ---------------------------------------------------------------------------------------

Result<> Job::pause() {
  TRY_OK(accept(Verb::pause));
  if (user_paused_) return Error{ErrorClass::generic, "Job is already paused"};
  user_paused_ = true;
  ++pause_count_;
  if (!paused_ && !(timer_ && sleeps_on())) enter();
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
  if (!paused_ && !(timer_ && sleeps_on())) enter();
}

void Job::drain_end() {
  CHECK(pause_count_ > 0);
  if (--pause_count_ == 0 && paused_) enter();
}

Result<> Job::set_speed(std::int64_t bytes_per_second) {
  TRY_OK(accept(Verb::set_speed));
  if (bytes_per_second < 0)
    return Error{ErrorClass::generic, "Parameter 'speed' expects a non-negative value"};
  const std::uint64_t before = speed();
  limit_.set_speed(static_cast<std::uint64_t>(bytes_per_second));
  const bool forget = speed_changed();
  if (speed() != 0 && speed() <= before) return ok();
  if (forget) limit_.forget();
  if (timer_) enter();  // only out of a sleep, not out of a pause
  return ok();
}

Result<> Job::do_complete() {
  return Error{ErrorClass::generic,
               fmt::format("The active block job '{}' cannot be completed", id())};
}

Result<> Job::do_change(const std::string&) {
  return Error{ErrorClass::generic, "Job type does not support change"};
}

Result<> Job::change(const std::string& copy_mode) {
  TRY_OK(accept(Verb::change));
  return do_change(copy_mode);
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
    world_.scheduler.spawn(abort_all(shared_from_this()));
    return ok();
  }
  cancel_requested_ = true;
  forced_ = forced_ || force;
  enter();
  return ok();
}

Task<Result<>> Job::finalize() {
  CO_TRY_OK(accept(Verb::finalize));
  co_await finish(shared_from_this());
  co_return ok();
}

Result<> Job::dismiss() {
  TRY_OK(accept(Verb::dismiss));
  vanish();
  return ok();
}

// --- the end -------------------------------------------------------------------------------------

void Job::become_ready() {
  change_status(Status::ready);
  observer_->ready(*this);
}

bool Job::has_ended() const { return status_ >= Status::waiting && status_ <= Status::null; }

void Job::fail(Error error) {
  failed_ = true;
  error_number_ = error.number;
  error_ = std::move(error.desc);
  change_status(Status::aborting);
  end_.wake_all();
}

Task<void> Job::end(Result<> result) {
  if (is_cancelled()) result = os_error(ECANCELED);
  if (result) {
    co_await wait_for_others();
  } else {
    fail(std::move(result).error());
    co_await abort_all(shared_from_this());
  }
}

Task<void> Job::wait_for_others() {
  change_status(Status::waiting);
  end_.wake_all();
  const std::vector<std::shared_ptr<Job>> jobs = transaction_->jobs;
  if (!std::ranges::all_of(jobs, [](const auto& job) { return job->has_ended(); })) co_return;
  bool finish_now = true;
  for (const auto& job : jobs) {
    job->change_status(Status::pending);
    if (!job->settings_.auto_finalize) job->observer_->pending(*job);
    finish_now = finish_now && job->settings_.auto_finalize;
  }
  if (finish_now) co_await finish(shared_from_this());
}

Task<void> Job::finish(std::shared_ptr<Job> self) {
  const std::vector<std::shared_ptr<Job>> jobs = self->transaction_->jobs;
  for (const auto& job : jobs) {
    if (Result<> prepared = co_await job->prepare(); !prepared) {
      job->fail(std::move(prepared).error());
      co_await abort_all(job);
      co_return;
    }
  }
  for (const auto& job : jobs) job->finalize_alone();
}

// One has failed or was cancelled: so do all.
Task<void> Job::abort_all(std::shared_ptr<Job> self) {
  const std::shared_ptr<Transaction> transaction = self->transaction_;
  if (std::exchange(transaction->aborting, true)) co_return;  // another one sees to it
  for (const auto& other : transaction->jobs)
    if (other != self) other->cancel_with_others();
  while (!transaction->jobs.empty()) {
    const std::shared_ptr<Job> other = transaction->jobs.front();
    while (!other->has_ended()) co_await other->end_.wait();
    other->finalize_alone();
  }
}

void Job::cancel_with_others() {
  if (user_paused_) {
    user_paused_ = false;
    --pause_count_;
  }
  cancel_requested_ = forced_ = true;
  if (started_)
    enter();
  else if (!has_ended())
    fail(os_error(ECANCELED));
}

void Job::vanish() {
  change_status(Status::null);
  dismissed();
}

// The last act: what is done takes effect, or is undone.
void Job::finalize_alone() {
  if (!failed_ && is_cancelled()) fail(os_error(ECANCELED));
  clean(!failed_);
  if (started_) {
    if (is_cancelled())
      observer_->cancelled(*this);
    else
      observer_->completed(*this);
  }
  std::erase(transaction_->jobs, shared_from_this());
  change_status(Status::concluded);
  if (settings_.auto_dismiss || !started_) vanish();
}

// --- all jobs ------------------------------------------------------------------------------------

Result<> Jobs::check_new_id(const std::string& id) const {
  if (!is_well_formed_id(id))
    return Error{ErrorClass::generic, fmt::format("Invalid job ID '{}'", id)};
  if (find(id)) return Error{ErrorClass::generic, fmt::format("Job ID '{}' already in use", id)};
  return ok();
}

void Jobs::create(std::shared_ptr<Job> job, std::shared_ptr<Transaction> transaction) {
  std::erase_if(jobs_, [](const auto& old) { return old->status() == Status::null; });
  jobs_.insert(jobs_.begin(), job);
  job->create(observer_, std::move(transaction));
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
