#include "sim/world/scheduler.h"

namespace sim {

// The frame of a spawned task: starts when told, destroys itself at the end.
struct Scheduler::Root {
  struct promise_type {
    Root get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const {}
    void unhandled_exception() const noexcept { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
};

Scheduler::Root Scheduler::run_root(Task<void> task,
                                    std::list<std::coroutine_handle<>>::iterator self) {
  co_await std::move(task);
  roots_.erase(self);
}

void Scheduler::spawn(Task<void> task) {
  roots_.emplace_back();
  const auto self = std::prev(roots_.end());
  const Root root = run_root(std::move(task), self);
  *self = root.handle;
  root.handle.resume();
}

Scheduler::Ticket Scheduler::after(Duration delay, Work work) {
  const Ticket ticket{now_ + delay, arrivals_++};
  timers_.emplace(ticket, std::move(work));
  return ticket;
}

bool Scheduler::step(Instant limit) {
  if (due_.empty()) {
    if (timers_.empty() || timers_.begin()->first.first > limit) return false;
    now_ = timers_.begin()->first.first;
    while (!timers_.empty() && timers_.begin()->first.first == now_) {
      auto first = timers_.extract(timers_.begin());
      due_.push_back(std::move(first.mapped()));
    }
  }
  auto chosen = due_.begin();
  if (explorer_ && due_.size() > 1)
    chosen += static_cast<std::ptrdiff_t>(explorer_->below(due_.size()));
  const Work work = std::move(*chosen);
  due_.erase(chosen);
  work();
  return true;
}

void Scheduler::abandon() {
  due_.clear();
  timers_.clear();
  while (!roots_.empty()) {
    const std::coroutine_handle<> root = roots_.front();
    roots_.pop_front();
    root.destroy();
  }
}

}  // namespace sim
