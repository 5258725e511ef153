// The order of pending work, and the virtual clock that moves only with it.

#pragma once

#include <compare>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <utility>

#include "sim/world/rng.h"
#include "sim/world/task.h"

namespace sim {

struct Duration {
  std::uint64_t ns = 0;
  friend auto operator<=>(Duration, Duration) = default;
};
struct Instant {
  std::uint64_t ns = 0;
  friend auto operator<=>(Instant, Instant) = default;
};
constexpr Instant operator+(Instant at, Duration by) {  // saturates: "for ever" stays in the future
  return {at.ns + by.ns < at.ns ? UINT64_MAX : at.ns + by.ns};
}
constexpr Duration milliseconds(std::uint64_t n) { return {n * 1'000'000}; }

// Runs work in order of (time, arrival), or, when exploring, draws among the work that is due.
class Scheduler {
 public:
  using Work = std::function<void()>;
  using Ticket = std::pair<Instant, std::uint64_t>;

  Scheduler() = default;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  ~Scheduler() { abandon(); }

  Instant now() const { return now_; }

  // Runs `work` in a later step, at the present time.
  void post(Work work) { due_.push_back(std::move(work)); }
  void post(std::coroutine_handle<> handle) {
    due_.emplace_back([handle] { handle.resume(); });
  }

  // Runs `work` when the clock has moved by `delay`, unless the ticket is cancelled before.
  Ticket after(Duration delay, Work work);
  void cancel(Ticket ticket) { timers_.erase(ticket); }

  // Suspends the calling coroutine and resumes it in a later step.
  auto yield() {
    struct Awaiter {
      Scheduler& scheduler;
      bool await_ready() const { return false; }
      void await_suspend(std::coroutine_handle<> handle) const { scheduler.post(handle); }
      void await_resume() const {}
    };
    return Awaiter{*this};
  }

  // Starts `task` at once and keeps it until it ends; abandon() destroys what has not ended.
  void spawn(Task<void> task);

  // Runs the next piece of work; false if there is none, or none before `limit` (the clock then
  // stays where it is).
  bool step(Instant limit = {UINT64_MAX});

  // When the next piece of work runs: now or later; nothing if there is none.
  std::optional<Instant> next() const {
    if (!due_.empty()) return now_;
    if (timers_.empty()) return std::nullopt;
    return timers_.begin()->first.first;
  }
  // Moves the clock on without work, no further than next(); never back.
  void advance(Instant to) {
    if (const auto limit = next(); limit && *limit < to) to = *limit;
    if (now_ < to) now_ = to;
  }

  // True if some work is due at the present time.
  bool has_due() const { return !due_.empty(); }

  // Draws the next of several due pieces of work from `rng` instead of taking the oldest.
  void explore(Rng rng) { explorer_ = rng; }

  // Forgets all pending work and destroys all spawned tasks.  The owner of what they refer to
  // calls it before that goes.
  void abandon();

 private:
  struct Root;
  Root run_root(Task<void> task, std::list<std::coroutine_handle<>>::iterator self);

  Instant now_;
  std::uint64_t arrivals_ = 0;
  std::deque<Work> due_;
  std::map<Ticket, Work> timers_;
  std::list<std::coroutine_handle<>> roots_;
  std::optional<Rng> explorer_;
};

}  // namespace sim
