// Driver `throttle`: requests wait for their turn in a group.  Source: QAPI's
// BlockdevOptionsThrottle.

#include <fmt/format.h>

#include "sim/block/filter.h"
#include "sim/block/throttle.h"
#include "sim/driver/open.h"

namespace sim::driver {

namespace {

class Throttle final : public block::FilterNode {
 public:
  Throttle(block::Graph& graph, std::string name, std::string group_name,
           std::shared_ptr<block::ThrottleGroup> group)
      : FilterNode(graph, std::move(name), "throttle"),
        group_name_(std::move(group_name)),
        group_(std::move(group)) {}

  Json open_options() const override {
    Json result = FilterNode::open_options();
    result["throttle-group"] = group_name_;
    return result;
  }

  // Those that wait go on at once, as a drained section waits for them.
  void drain_begin_driver() override {
    passes_ = true;
    group_->wake_all();
  }
  void drain_end_driver() override { passes_ = false; }

  std::optional<std::string_view> reopen_options() const override { return "throttle-group"; }
  Result<> check_reopen(const Json& wanted, bool /*writable*/) const override {
    return find_group(wanted["throttle-group"].get<std::string>());
  }
  Task<Result<>> prepare_reopen(Json options, bool /*writable*/) override {
    before_ = group_name_;
    co_return set_group(options["throttle-group"].get<std::string>());
  }
  void abort_reopen() override { CHECK(set_group(before_), "it is in use"); }

  Result<> find_group(const std::string& name) const {
    if (graph().throttle_groups.find(name)) return ok();
    return Error{ErrorClass::generic, fmt::format("Throttle group '{}' does not exist", name)};
  }
  Result<> set_group(const std::string& name) {
    TRY_OK(find_group(name));
    group_name_ = name;
    group_ = graph().throttle_groups.find(name);
    return ok();
  }

 protected:
  Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) override {
    co_await group_->admit(false, into.size(), passes_);
    co_return co_await FilterNode::do_read(offset, into);
  }
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override {
    co_await group_->admit(true, from.size(), passes_);
    co_return co_await FilterNode::do_write(offset, from);
  }
  Task<Result<>> do_write_compressed(std::uint64_t offset, Bytes from) override {
    co_await group_->admit(true, from.size(), passes_);
    co_return co_await FilterNode::do_write_compressed(offset, from);
  }
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                 block::ZeroFlags flags) override {
    co_await group_->admit(true, length, passes_);
    co_return co_await FilterNode::do_write_zeroes(offset, length, flags);
  }
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override {
    co_await group_->admit(true, length, passes_);
    co_return co_await FilterNode::do_discard(offset, length);
  }

 private:
  std::string group_name_, before_;
  std::shared_ptr<block::ThrottleGroup> group_;
  bool passes_ = false;
};

}  // namespace

Task<Result<block::NodePtr>> open_throttle(block::Graph& graph, Common common, Json options) {
  CO_TRY(const block::NodePtr file,
         co_await open_child(graph, options["file"], common.for_children));
  CO_TRY_OK(settle(graph, common));
  auto node = std::make_shared<Throttle>(graph, std::move(common.name), "", nullptr);
  node->read_only = common.read_only;
  node->inactive = common.inactive;
  CO_TRY_OK(graph.attach(*node, file, "file", block::kFiltered | block::kPrimary));
  if (!graph.profile().filters_follow_children) node->keep_size();
  if (auto grouped = node->set_group(options["throttle-group"].get<std::string>()); !grouped) {
    graph.detach(*node, "file");
    co_return std::move(grouped).error();
  }
  co_return node;
}

}  // namespace sim::driver
