// A job that works on nodes of the graph: it holds them, keeps others away from them, and rests
// while they are drained.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/block/backend.h"
#include "sim/block/graph.h"
#include "sim/job/job.h"

namespace sim::job {

class BlockJob : public Job, private block::User {
 public:
  BlockJob(block::Graph& graph, std::string type, Settings settings);
  ~BlockJob() override;

  bool is_block_job() const override { return true; }
  void describe(Json& info) const override;
  block::IoStatus io_status() const { return io_status_; }
  // As `cont` does: the job stays paused if it is.
  void reset_io_status() { io_status_ = block::IoStatus::ok; }
  // The job's main node, whose AioContext is the job's.
  block::Node* main_node() const { return main_node_; }
  // What it holds its nodes with, the first one first.
  const std::vector<block::EdgePtr>& held() const { return held_; }

  // What an error of a request means by policy; emits BLOCK_JOB_ERROR, and for `stop` pauses the
  // job as a user would and sets the I/O status.  `is_read` is what the event calls it.
  block::Action error_action(block::OnError policy, bool is_read, const Error& error);

 protected:
  // Holds a node until release_nodes() or the job's end: an edge of this name ("main node",
  // "source", "target", "intermediate node", "base"), and all operations on it are blocked:
  // "block device is in use by block job: mirror".
  Result<> hold(const std::string& name, const block::NodePtr& node, block::Permission permission);
  // The same for the job's main node, of which a job of 5.2 is a block backend until it is
  // dismissed.
  Result<> hold_main(const block::NodePtr& node, block::Permission permission);
  // That backend needs nothing any more, and is of `node`.
  void keep_until_dismissed(const block::NodePtr& node);
  // Lets go of one node, or of all.
  void release(const block::Node& node);
  void release_nodes();
  // The name of its filter: one that is given must be well-formed, and "" is not.
  Result<std::string> choose_filter_name(const std::optional<std::string>& wanted);
  // Permits an operation that hold() blocked.
  void allow(block::Node& node, block::Op op);

  // Sleeps for what delay_after() said.  Being woken early ends it, or does not (from 10.0).
  Task<void> keep_to_speed(Duration delay);

  block::Graph& graph() { return graph_; }
  const Profile& profile() const { return graph_.profile(); }
  // While the job waits in a drained section of its own: see User::is_busy().
  virtual bool drained_poll() const { return !is_quiet() && (Job::is_busy() || !sleeps_on()); }

 private:
  std::string describe() const override;
  void drained_begin() override { drain_begin(); }
  void drained_end() override { drain_end(); }
  bool is_busy() const override { return drained_poll(); }
  bool stays() const override { return true; }
  bool sleeps_on() const override { return profile().pause_waits_for_wake; }
  bool speed_changed() override { return !profile().wake_keeps_to_speed; }
  // Any cancel is enough in 5.2.
  bool is_past_pausing() const override {
    return is_cancelled() || (cancel_requested() && profile().pause_waits_for_wake);
  }
  void dismissed() override;
  void user_resumed() override { io_status_ = block::IoStatus::ok; }

  block::Graph& graph_;
  block::Reason reason_;
  std::vector<block::EdgePtr> held_;
  block::Backend backend_;  // 5.2
  block::Node* main_node_ = nullptr;
  block::IoStatus io_status_ = block::IoStatus::ok;
};

}  // namespace sim::job
