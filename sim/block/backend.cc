#include "sim/block/backend.h"

#include <fmt/format.h>

#include <algorithm>

namespace sim::block {

Action action_for(OnError policy, bool is_read, int number) {
  switch (policy) {
    case OnError::report:
      return Action::report;
    case OnError::ignore:
      return Action::ignore;
    case OnError::stop:
      return Action::stop;
    case OnError::automatic:
      if (is_read) return Action::report;
      [[fallthrough]];
    case OnError::enospc:
      return number == ENOSPC ? Action::stop : Action::report;
  }
  return Action::report;
}

Backend::Backend(Graph& graph, std::string name, Permission permission)
    : graph_(graph),
      name_(std::move(name)),
      permission_(permission),
      drained_(graph.world().scheduler) {
  graph_.backends.push_back(this);
}

Backend::~Backend() {
  remove();
  std::erase(graph_.backends, this);
}

Result<> Backend::insert(const NodePtr& node) {
  CHECK(!edge_, "a backend has one node");
  TRY(edge_, graph_.attach_user(*this, node, "root", permission_));
  return ok();
}

void Backend::remove() {
  if (edge_) graph_.detach_user(std::move(edge_));
}

Result<> Backend::replace(const NodePtr& node) { return graph_.move(*edge_, node); }

Result<> Backend::set_permission(Permission permission) {
  if (edge_) TRY_OK(graph_.set_permission(*edge_, permission));
  permission_ = permission;
  return ok();
}

std::string Backend::describe() const {
  const bool by_name = !graph_.profile().permission_conflict_names_both;
  if (by_name && !name_.empty()) return name_;
  if (by_name && device != nullptr) return device->label();
  if (name_.empty() && device == nullptr) return "an unnamed block device";
  const std::string known_as = name_.empty() ? device->label() : name_;
  if (!graph_.profile().permission_conflict_names_both) return known_as;
  return fmt::format("block device '{}'", known_as);
}

void Accounting::finish(Kind& kind, std::uint64_t length, Instant begin, Instant end, bool ok) {
  const std::uint64_t took = end.ns - begin.ns;
  if (ok) {
    kind.bytes += length;
    ++kind.done;
  } else {
    ++kind.failed;
  }
  if (kind.histogram) {
    const auto bin = std::ranges::upper_bound(kind.histogram->boundaries, took);
    ++kind.histogram->bins[static_cast<std::size_t>(bin - kind.histogram->boundaries.begin())];
  }
  if (!ok && !counts_failed) return;
  kind.nanoseconds += took;
  last_request = end;
}

void Backend::set_throttle_group(std::string name, std::shared_ptr<ThrottleGroup> group) {
  const std::shared_ptr<ThrottleGroup> before = std::exchange(throttle_group_, std::move(group));
  throttle_group_name_ = std::move(name);
  if (before) before->wake_all();
}

void Backend::drained_begin() {
  ++quiet_;
  unthrottled_ = true;
  if (throttle_group_) throttle_group_->wake_all();
}

void Backend::drained_end() {
  if (--quiet_ > 0) return;
  unthrottled_ = false;
  drained_.wake_all();
}

bool Backend::tells_io_status() const {
  return io_status_enabled && (on_write_error == OnError::enospc ||
                               on_write_error == OnError::stop || on_read_error == OnError::stop);
}

bool Backend::has_medium() const { return edge_ && (device == nullptr || !device->is_tray_open()); }

class Backend::Flight {
 public:
  explicit Flight(Backend& backend) : backend_(backend) { ++backend_.in_flight_; }
  ~Flight() { --backend_.in_flight_; }
  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;

 private:
  Backend& backend_;
};

Task<void> Backend::wait_while_drained() {
  while (queues_requests && quiet_ > 0) co_await drained_.wait();
}

Task<Result<>> Backend::check(std::uint64_t offset, std::uint64_t length) {
  if (quiet_ > 0) co_await wait_while_drained();
  if (!has_medium()) co_return os_error(ENOMEDIUM);
  const auto end = checked_add(offset, length);
  if (!end || *end > edge_->node()->size()) co_return os_error(EIO);
  co_return ok();
}

Task<Result<>> Backend::admit(bool is_write, std::uint64_t offset, std::uint64_t length) {
  CO_TRY_OK(co_await check(offset, length));
  const std::shared_ptr<ThrottleGroup> group = throttle_group_;
  if (group) co_await group->admit(is_write, length, unthrottled_);
  co_return ok();
}

Task<Result<>> Backend::read(std::uint64_t offset, MutableBytes into) {
  CO_TRY_OK(co_await admit(false, offset, into.size()));
  const Flight flight(*this);
  co_return co_await edge_->node()->read(offset, into);
}

Task<Result<>> Backend::write(std::uint64_t offset, Bytes from) {
  CO_TRY_OK(co_await admit(true, offset, from.size()));
  const Flight flight(*this);
  co_return co_await edge_->node()->write(offset, from);
}

Task<Result<>> Backend::write_compressed(std::uint64_t offset, Bytes from) {
  CO_TRY_OK(co_await admit(true, offset, from.size()));
  const Flight flight(*this);
  co_return co_await edge_->node()->write_compressed(offset, from);
}

Task<Result<>> Backend::write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroFlags flags) {
  CO_TRY_OK(co_await admit(true, offset, length));
  const Flight flight(*this);
  flags.forced = !graph_.profile().backend_heeds_discard_option;
  co_return co_await edge_->node()->write_zeroes(offset, length, flags);
}

Task<Result<>> Backend::discard(std::uint64_t offset, std::uint64_t length) {
  CO_TRY_OK(co_await check(offset, length));
  const Flight flight(*this);
  co_return co_await edge_->node()->discard(offset, length);
}

Task<Result<>> Backend::flush() {
  if (quiet_ > 0) co_await wait_while_drained();
  if (!has_medium()) co_return os_error(ENOMEDIUM);
  const Flight flight(*this);
  co_return co_await edge_->node()->flush();
}

}  // namespace sim::block
