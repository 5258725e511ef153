#include "sim/job/block_job.h"

#include <fmt/format.h>

#include <algorithm>

namespace sim::job {

BlockJob::BlockJob(block::Graph& graph, std::string type, Settings settings)
    : Job(graph.world(), type, std::move(settings)),
      graph_(graph),
      reason_(std::make_shared<const std::string>(
          fmt::format("block device is in use by block job: {}", type))),
      backend_(graph, "", {}) {
  backend_.queues_requests = false;
}

BlockJob::~BlockJob() { release_nodes(); }

std::string BlockJob::describe() const { return fmt::format("{} job '{}'", type(), id()); }

Result<> BlockJob::hold(const std::string& name, const block::NodePtr& node,
                        block::Permission permission) {
  auto edge = graph_.attach_user(*this, node, name, permission);
  if (!edge && main_node_ == nullptr && !profile().job_comes_before_node) never_be();
  if (!edge) return std::move(edge).error();
  held_.push_back(*std::move(edge));
  if (main_node_ == nullptr) main_node_ = node.get();
  node->block(block::Ops::all().without(block::Op::dataplane), reason_);
  return ok();
}

Result<> BlockJob::hold_main(const block::NodePtr& node, block::Permission permission) {
  if (!profile().jobs_are_backends) return hold("main node", node, permission);
  CHECK(backend_.set_permission(permission), "it has no node yet");
  if (Result<> taken = backend_.insert(node); !taken) {
    never_be();
    return taken;
  }
  return hold("main node", node, {});
}

void BlockJob::keep_until_dismissed(const block::NodePtr& node) {
  backend_.remove();
  CHECK(backend_.set_permission({0, block::kAllPermissions}), "it has no node");
  CHECK(backend_.insert(node), "it needs nothing");
}

void BlockJob::dismissed() {
  release_nodes();
  graph_.collect_soon();
}

void BlockJob::describe(Json& info) const {
  info["io-status"] = block::kIoStatusNames[static_cast<std::size_t>(io_status_)];
}

void BlockJob::release(const block::Node& node) {
  for (std::size_t i = 0; i < held_.size();) {
    if (held_[i]->node().get() != &node) {
      ++i;
      continue;
    }
    held_[i]->node()->unblock(reason_);
    graph_.detach_user(std::move(held_[i]));
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void BlockJob::release_nodes() {
  main_node_ = nullptr;
  backend_.remove();
  while (!held_.empty()) {
    block::EdgePtr edge = std::move(held_.back());
    held_.pop_back();
    edge->node()->unblock(reason_);
    graph_.detach_user(std::move(edge));
  }
}

Task<void> BlockJob::keep_to_speed(Duration delay) {
  co_await sleep(delay);
  if (!profile().wake_keeps_to_speed) co_return;
  while (!is_cancelled() && (delay = delay_after(0)) > Duration{}) co_await sleep(delay);
}

Result<std::string> BlockJob::choose_filter_name(const std::optional<std::string>& wanted) {
  if (wanted && wanted->empty())
    return Error{ErrorClass::generic,
                 profile().bad_node_name_is_quoted ? "Invalid node-name: ''" : "Invalid node name"};
  return graph_.choose_name(wanted.value_or(""));
}

void BlockJob::allow(block::Node& node, block::Op op) { node.unblock(reason_, op); }

block::Action BlockJob::error_action(block::OnError policy, bool is_read, const Error& error) {
  const block::Action action = block::action_for(policy, is_read, error.number);
  notify_error(is_read, block::kActionNames[static_cast<std::size_t>(action)]);
  if (action != block::Action::stop) return action;
  pause_for_error();
  io_status_ = error.number == ENOSPC ? block::IoStatus::nospace : block::IoStatus::failed;
  return action;
}

}  // namespace sim::job
