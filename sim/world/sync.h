// Waiting among coroutines of one World: a queue to wait in, and a lock.

#pragma once

#include <coroutine>
#include <deque>
#include <optional>

#include "sim/world/scheduler.h"

namespace sim {

// Coroutines wait in line until woken; waking resumes them in a later step, never on the spot.
class WaitQueue {
 public:
  explicit WaitQueue(Scheduler& scheduler) : scheduler_(scheduler) {}

  auto wait() {
    struct Awaiter {
      WaitQueue& queue;
      bool await_ready() const { return false; }
      void await_suspend(std::coroutine_handle<> handle) const { queue.waiting_.push_back(handle); }
      void await_resume() const {}
    };
    return Awaiter{*this};
  }
  bool empty() const { return waiting_.empty(); }
  void wake_one() {
    if (waiting_.empty()) return;
    scheduler_.post(waiting_.front());
    waiting_.pop_front();
  }
  void wake_all() {
    while (!waiting_.empty()) wake_one();
  }

 private:
  Scheduler& scheduler_;
  std::deque<std::coroutine_handle<>> waiting_;
};

// A fair lock; taking a free one does not suspend.  `auto held = co_await mutex.lock();`
class Mutex {
 public:
  explicit Mutex(Scheduler& scheduler) : queue_(scheduler) {}

  class [[nodiscard]] Held {
   public:
    explicit Held(Mutex* mutex) : mutex_(mutex) {}
    Held(Held&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    Held& operator=(Held&&) = delete;
    ~Held() {
      if (mutex_ != nullptr) mutex_->unlock();
    }

   private:
    Mutex* mutex_;
  };

  Task<Held> lock() {
    if (locked_) co_await queue_.wait();  // unlock() hands the lock over without releasing it
    locked_ = true;
    co_return Held(this);
  }
  // The lock if it is free: for paths where a coroutine would cost more than what it protects.
  std::optional<Held> try_lock() {
    if (locked_) return std::nullopt;
    locked_ = true;
    return std::optional<Held>(std::in_place, this);
  }

 private:
  void unlock() {
    if (queue_.empty())
      locked_ = false;
    else
      queue_.wake_one();
  }

  WaitQueue queue_;
  bool locked_ = false;
};

}  // namespace sim
