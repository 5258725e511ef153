// Filter `preallocate`: makes its file longer than it need be, so that most writes do not.
//
// Source: QAPI's BlockdevOptionsPreallocate; measured on 7.2 to 11.1.

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "sim/base/size.h"
#include "sim/block/filter.h"
#include "sim/driver/open.h"

namespace sim::driver {

namespace {

struct Settings {
  std::uint64_t align = 1_MiB;   // bytes
  std::uint64_t size = 128_MiB;  // bytes
};

Result<Settings> read_settings(const Json& options, const Profile& profile) {
  TRY_OK(check_sizes(options, {"prealloc-align", "prealloc-size"}, profile));
  Settings settings;
  settings.align = options.value("prealloc-align", settings.align);
  settings.size = options.value("prealloc-size", settings.size);
  if (settings.align % 512 != 0)
    return Error{ErrorClass::generic,
                 "prealloc-align parameter of preallocate filter is not aligned to 512"};
  return settings;
}

class Preallocate final : public block::FilterNode {
 public:
  Preallocate(block::Graph& graph, std::string name, Settings settings)
      : FilterNode(graph, std::move(name), "preallocate"), settings_(settings) {}

  std::uint64_t size() const override { return end_ ? *end_ : FilterNode::size(); }
  std::optional<std::string_view> reopen_options() const override { return ""; }
  // Without users that write, nobody needs the room.
  void apply_permission(block::Permission above) override {
    if ((above.needed & (block::kWrite | block::kResize)) == 0 && end_ && filtered() != nullptr)
      world().scheduler.spawn(give_back_soon());
  }
  Task<Result<>> close() override { return give_back(); }

 protected:
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override {
    CO_TRY_OK(co_await make_room(offset + from.size()));
    co_return co_await FilterNode::do_write(offset, from);
  }
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                 block::ZeroFlags flags) override {
    CO_TRY_OK(co_await make_room(offset + length));
    co_return co_await FilterNode::do_write_zeroes(offset, length, flags);
  }
  Task<Result<>> do_truncate(block::Truncate wanted) override {
    CO_TRY_OK(co_await FilterNode::do_truncate(wanted));
    end_.reset();
    co_return ok();
  }

 private:
  Task<Result<>> make_room(std::uint64_t end) {
    if (end <= size()) co_return ok();
    const std::uint64_t present = FilterNode::size();
    end_ = end;
    if (end <= present) co_return ok();
    const std::uint64_t wanted =
        align_up(end + settings_.size, std::max<std::uint64_t>(settings_.align, 1));
    co_return co_await FilterNode::do_write_zeroes(present, wanted - present, {});
  }
  Task<void> give_back_soon() {
    const auto self = shared_from_this();
    (void)co_await give_back();
  }
  Task<Result<>> give_back() {
    const auto end = std::exchange(end_, {});
    if (!end || filtered() == nullptr || *end >= FilterNode::size()) co_return ok();
    co_return co_await FilterNode::do_truncate({.size = *end, .exact = true});
  }

  Settings settings_;
  std::optional<std::uint64_t> end_;  // of the data, if the file is longer
};

}  // namespace

Task<Result<block::NodePtr>> open_preallocate(block::Graph& graph, Common common, Json options) {
  CO_TRY(const Settings settings, read_settings(options, graph.profile()));
  CO_TRY(const block::NodePtr file,
         co_await open_child(graph, options["file"], common.for_children));
  CO_TRY_OK(settle(graph, common));
  auto node = std::make_shared<Preallocate>(graph, std::move(common.name), settings);
  node->read_only = common.read_only;
  node->inactive = common.inactive;
  CO_TRY_OK(graph.attach(*node, file, "file", block::kFiltered | block::kPrimary));
  co_return node;
}

}  // namespace sim::driver
