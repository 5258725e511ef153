// A background job: its life (rules.h), its pauses and sleeps, and how it ends.
//
// A concrete job derives from Job and writes its algorithm as one coroutine, run().  Everything a
// user can do to it goes through a verb; one function changes the status.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/json.h"
#include "sim/base/result.h"
#include "sim/job/rules.h"
#include "sim/world/rate_limit.h"
#include "sim/world/world.h"

namespace sim::job {

class Job;

// Who wants to know: the monitor, which turns these into events.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void status_changed(const Job& job) = 0;  // JOB_STATUS_CHANGE
  virtual void ready(const Job& job) = 0;           // BLOCK_JOB_READY
  virtual void pending(const Job& job) = 0;         // BLOCK_JOB_PENDING
  virtual void completed(const Job& job) = 0;       // BLOCK_JOB_COMPLETED
  virtual void cancelled(const Job& job) = 0;       // BLOCK_JOB_CANCELLED
  // BLOCK_JOB_ERROR; `action`: "report", "ignore", "stop".
  virtual void failed_request(const Job& job, bool is_read, std::string_view action) = 0;
};

struct Settings {
  std::string id;
  bool auto_finalize = true;
  bool auto_dismiss = true;
};

struct Progress {
  std::uint64_t current = 0;
  std::uint64_t total = 0;
};

class Job;

// Jobs that end together (QEMU: JobTxn): none is finalized before all are done, and when one
// fails the others are cancelled.  Newest first.  A job by itself is one, too.
struct Transaction {
  std::vector<std::shared_ptr<Job>> jobs;
  bool aborting = false;
};

class Job : public std::enable_shared_from_this<Job> {
 public:
  Job(World& world, std::string type, Settings settings);
  virtual ~Job() = default;
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  const std::string& id() const { return settings_.id; }
  const std::string& type() const { return type_; }
  const Settings& settings() const { return settings_; }
  Status status() const { return status_; }
  Progress progress() const { return progress_; }
  // Why it failed or was cancelled ("Operation canceled"); empty while there is nothing to say.
  const std::string& error() const { return error_; }
  int error_number() const { return error_number_; }  // the errno of that, 0 if there is none
  bool is_ready() const;
  bool is_paused() const { return paused_; }
  bool is_user_paused() const { return user_paused_; }
  // At its end a job may keep its nodes still; `paused` then says so (measured).
  virtual bool is_drained() const { return false; }
  bool is_busy() const { return busy_; }
  // A block job proper: listed by query-block-jobs and with BLOCK_JOB_… events.
  virtual bool is_block_job() const { return false; }
  std::uint64_t speed() const { return limit_.speed(); }  // bytes per second, 0: no limit

  // The job exists from here on; it must be owned by a shared_ptr.  It ends together with the other
  // jobs of the transaction (null: alone).
  void create(Observer& observer, std::shared_ptr<Transaction> transaction);
  // Starts the coroutine.
  void start();

  // Instead of start(): the job was created, but something it needs is not to be had.
  void fail_early(Observer& observer);

  // Adds what only this kind of job tells to QAPI's BlockJobInfo.
  virtual void describe(Json& info) const { (void)info; }

  // The machine ends, whether the job has ended or not: it lets go of its nodes.
  void abandon();

  // Instead of start(), after create(): what it was made for does not happen.
  void cancel_unstarted();

  // The verbs.  Each is refused with QEMU's text when the status does not accept it.
  Result<> cancel(bool force);
  Result<> pause();
  Result<> resume();
  Result<> complete();
  Task<Result<>> finalize();  // returns when all of its transaction have ended
  Result<> dismiss();
  Result<> set_speed(std::int64_t bytes_per_second);
  // block-job-change; `copy_mode` is QAPI's MirrorCopyMode.
  Result<> change(const std::string& copy_mode);

  // What a drain does: pauses without the user's knowing; counted.
  void drain_begin();
  void drain_end();
  // True when a drain that was begun need not wait for this job any longer.
  bool is_quiet() const { return !started_ || paused_ || deferred_; }
  // Waits for something that is not due now: a timer, a verb; or has ended.
  bool has_settled() const;
  // Woken, but has not run since: QEMU's verbs run a sleeping job before they reply.
  bool is_waking() const { return waking_; }

 protected:
  // It was refused what it needs even to be created.
  void never_be() { never_was_ = true; }
  // The user resumed it.
  virtual void user_resumed() {}
  // For BlockJob::error_action().
  void notify_error(bool is_read, std::string_view action) {
    observer_->failed_request(*this, is_read, action);
  }
  // Pauses as if the user had asked; nothing if he has.
  void pause_for_error();

  // The algorithm.  An error, or being cancelled, makes the job abort.
  virtual Task<Result<>> run() = 0;
  // After run() succeeded: makes the result take effect; may still fail.
  virtual Task<Result<>> prepare() { co_return ok(); }
  // Lets go of nodes; called once, before the last event.
  virtual void clean(bool success) { (void)success; }
  // Nothing shows it any more.
  virtual void dismissed() {}
  // As clean(), where it was not done yet; no coroutine runs any more.
  virtual void let_go() {}
  // Right before it pauses.
  virtual Task<void> about_to_pause() { co_return; }
  // `change` was accepted by the table.
  virtual Result<> do_change(const std::string& copy_mode);
  // `complete` was accepted by the table.
  virtual Result<> do_complete();
  // Does not pause any more, as it is about to end.
  virtual bool is_past_pausing() const { return is_cancelled(); }
  // Asleep, it is not woken to pause.
  virtual bool sleeps_on() const { return false; }
  // Where a release differs from the table.
  virtual bool refuses(Verb verb) const {
    (void)verb;
    return false;
  }
  // A cancel before READY is always forced; jobs without READY ignore the difference.
  virtual bool is_forced(bool /*force*/) const { return true; }

  World& world() { return world_; }
  void preset_speed(std::uint64_t bytes_per_second) { limit_.set_speed(bytes_per_second); }
  // The speed was changed.  Whether what was done before does not count for it.
  virtual bool speed_changed() { return true; }
  void set_total(std::uint64_t remaining) { progress_.total = progress_.current + remaining; }
  void advance(std::uint64_t done) { progress_.current += done; }
  void become_ready();
  bool cancel_requested() const { return cancel_requested_; }
  bool is_cancelled() const { return cancel_requested_ && forced_; }

  // Stays here while paused.
  Task<void> pause_point();
  // Sleeps, or less: any verb that wakes the job ends it.  A pause point.
  Task<void> sleep(Duration duration);
  // Waits until something wakes the job.  A pause point.
  Task<void> idle();
  // Wakes the job out of sleep() and idle(); nothing if it is busy.
  void enter();

  // How long to sleep after `bytes` more were done, so as to keep to the speed (100 ms slices; a
  // request that exceeds what is left of a slice is let through whole).
  Duration delay_after(std::uint64_t bytes) {
    return limit_.delay_after(world_.scheduler.now(), bytes);
  }

 private:
  static Task<void> main(std::shared_ptr<Job> self);
  Task<void> suspend();
  Result<> accept(Verb verb) const;
  void change_status(Status status);
  Task<void> end(Result<> result);
  Task<void> wait_for_others();
  static Task<void> finish(std::shared_ptr<Job> self);
  static Task<void> abort_all(std::shared_ptr<Job> self);
  void fail(Error error);
  void vanish();
  void cancel_with_others();
  void finalize_alone();
  bool has_ended() const;
  bool should_pause() const { return pause_count_ > 0; }

  World& world_;
  std::string type_;
  Settings settings_;
  Observer* observer_ = nullptr;
  Status status_ = Status::undefined;
  Progress progress_;
  std::string error_;
  int error_number_ = 0;
  RateLimit limit_;

  int pause_count_ = 0;
  bool user_paused_ = false;
  bool paused_ = false;
  bool busy_ = false;  // the coroutine runs, or waits for I/O
  bool started_ = false;
  bool waking_ = false;
  bool deferred_ = false;  // the coroutine has ended
  bool cancel_requested_ = false;
  bool forced_ = false;
  bool never_was_ = false;
  bool failed_ = false;
  std::shared_ptr<Transaction> transaction_;
  WaitQueue entrance_;
  WaitQueue end_;  // who waits until it has ended
  std::optional<Scheduler::Ticket> timer_;
};

// All jobs of a machine, newest first.
class Jobs {
 public:
  explicit Jobs(Observer& observer) : observer_(observer) {}

  // "Invalid job ID 'x'", "Job ID 'x' already in use".
  Result<> check_new_id(const std::string& id) const;
  void start(const std::shared_ptr<Job>& job) {
    create(job, nullptr);
    job->start();
  }
  // The same in two steps, for several that end together.
  void create(std::shared_ptr<Job> job, std::shared_ptr<Transaction> transaction);
  void fail_early(Job& job) { job.fail_early(observer_); }
  std::shared_ptr<Job> find(const std::string& id) const;
  // Those that are not dismissed.
  std::vector<std::shared_ptr<Job>> all() const;

 private:
  Observer& observer_;
  std::vector<std::shared_ptr<Job>> jobs_;
};

}  // namespace sim::job
