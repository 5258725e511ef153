// What a transaction is made of.  Each action is prepared in turn; when all are, they are
// committed; when one is refused, those before it are aborted, the last one first.

#pragma once

#include <functional>
#include <memory>

#include "sim/command/context.h"

namespace sim::command {

// An action that was prepared.  Any of them may be empty.
struct Prepared {
  std::function<Task<void>()> commit = nullptr;
  std::function<void()> abort = nullptr;
  std::function<Task<void>()> abort_waiting = nullptr;  // an abort that images take part in
  std::function<void()> clean = nullptr;                // in either case, at the end
};

struct Action {
  std::string_view type;
  // Jobs of the action become part of `jobs` (null: each ends alone).
  Task<Result<Prepared>> (*prepare)(Context& context, Json arguments,
                                    std::shared_ptr<job::Transaction> jobs);
  bool can_be_grouped = false;  // the property completion-mode=grouped means something to it
  // As a command of its own it is a transaction of one: everything is drained before.
  bool is_transaction = false;
};

std::span<const Action> bitmap_actions();
std::span<const Action> backup_actions();
std::span<const Action> snapshot_actions();
std::span<const Action> internal_snapshot_actions();

// An action as a command of its own.
Task<Result<Json>> perform_alone(Context& context, const Action& action, Json arguments);
template <const Action& action>
Task<Result<Json>> alone(Context& context, Json arguments) {
  return perform_alone(context, action, std::move(arguments));
}

// Begins a drained section, as actions do: a job that had just done its work has ended by then
// (measured, 7.2).
Task<void> begin_drained(Context& context, block::NodePtr node);

}  // namespace sim::command
