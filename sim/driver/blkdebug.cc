// Driver `blkdebug`: passes requests on, or fails them by rules.
//
// Source: QAPI's BlockdevOptionsBlkdebug.  Events that nothing raises here are refused by name, as
// are breakpoints and configuration files that say anything.  Limits are checked and shown, and
// change nothing that can be seen.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/base/qdict_text.h"
#include "sim/base/text.h"
#include "sim/block/filter.h"
#include "sim/driver/open.h"

namespace sim::driver {

namespace {

// QAPI: BlkdebugIOType, as bits.
enum IoType : unsigned {
  kRead = 1,
  kWrite = 2,
  kWriteZeroes = 4,
  kDiscard = 8,
  kFlush = 16,
  kBlockStatus = 32
};
constexpr std::array kIoTypes = {std::pair{"read", kRead},
                                 std::pair{"write", kWrite},
                                 std::pair{"write-zeroes", kWriteZeroes},
                                 std::pair{"discard", kDiscard},
                                 std::pair{"flush", kFlush},
                                 std::pair{"block-status", kBlockStatus}};
// Those raised at the node itself; `none` happens once, when it is opened.
constexpr std::string_view kEvents = "none|pwritev|pwritev_zero|pwritev_done";

struct Rule {
  std::string event;
  std::int64_t state = 0;                 // 0: any
  std::optional<std::int64_t> new_state;  // a set-state rule
  unsigned types = kRead | kWrite | kWriteZeroes | kDiscard | kFlush;
  int number = EIO;
  std::optional<std::uint64_t> offset;  // bytes
  bool once = false, immediately = false;
  bool spent = false;
};

class Blkdebug final : public block::FilterNode {
 public:
  Blkdebug(block::Graph& graph, std::string name, std::vector<Rule> rules, Json shown)
      : FilterNode(graph, std::move(name), "blkdebug"),
        rules_(std::move(rules)),
        shown_(std::move(shown)) {
    raise("none");
  }

  std::string exact_filename() const override {
    if (!shown_.empty()) return {};
    const std::string below = filtered()->exact_filename();
    return below.empty() ? below : "blkdebug::" + below;
  }
  std::optional<std::string_view> reopen_options() const override { return ""; }
  Json open_options() const override {
    Json result = FilterNode::open_options();
    result.update(qdict_flatten(shown_));
    return result;
  }
  std::uint64_t request_alignment() const override {
    const auto align = options.value("align", std::uint64_t{0});
    return align != 0 ? align : FilterNode::request_alignment();
  }
  block::Permission child_permission(const block::Edge& child,
                                     block::Permission above) const override {
    block::Permission result = FilterNode::child_permission(child, above);
    result.needed |= permissions_of("take-child-perms");
    result.shared &= ~permissions_of("unshare-child-perms");
    return result;
  }
  Task<Result<block::Status>> status(std::uint64_t offset, std::uint64_t length) override {
    CO_TRY_OK(co_await check(offset, length, kBlockStatus));
    co_return co_await FilterNode::status(offset, length);
  }

 protected:
  Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) override {
    CO_TRY_OK(co_await check(offset, into.size(), kRead));
    co_return co_await FilterNode::do_read(offset, into);
  }
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override {
    raise("pwritev");
    Result<> done = co_await check(offset, from.size(), kWrite);
    if (done) done = co_await FilterNode::do_write(offset, from);
    raise("pwritev_done");
    co_return done;
  }
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                 block::ZeroFlags flags) override {
    raise("pwritev_zero");
    Result<> done = co_await check(offset, length, kWriteZeroes);
    if (done) done = co_await FilterNode::do_write_zeroes(offset, length, flags);
    raise("pwritev_done");
    co_return done;
  }
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override {
    CO_TRY_OK(co_await check(offset, length, kDiscard));
    co_return co_await FilterNode::do_discard(offset, length);
  }
  Task<Result<>> do_flush() override {
    CO_TRY_OK(co_await check(0, 0, kFlush));
    co_return co_await FilterNode::do_flush();
  }

 private:
  block::Permissions permissions_of(const char* name) const {
    block::Permissions found = 0;
    if (shown_.contains(name))
      for (const Json& given : shown_[name])
        for (const auto& [word, bit] : {std::pair{"consistent-read", block::kConsistentRead},
                                        std::pair{"write", block::kWrite},
                                        std::pair{"write-unchanged", block::kWriteUnchanged},
                                        std::pair{"resize", block::kResize}})
          if (given == word) found |= bit;
    return found;
  }

  // The rules of an event replace those that were in force, if there are any in this state.
  void raise(std::string_view event) {
    std::vector<std::size_t> found;
    std::int64_t next = state_;
    for (std::size_t i = rules_.size(); i-- > 0;) {
      const Rule& rule = rules_[i];
      if (rule.spent || rule.event != event || (rule.state != 0 && rule.state != state_)) continue;
      if (rule.new_state)
        next = *rule.new_state;
      else
        found.insert(found.begin(), i);
    }
    if (!found.empty()) active_ = std::move(found);
    state_ = next;
  }

  // The first rule in force that fits.
  Task<Result<>> check(std::uint64_t offset, std::uint64_t length, IoType type) {
    const auto hit = std::ranges::find_if(active_, [&](std::size_t at) {
      const Rule& rule = rules_[at];
      return (rule.types & type) != 0 &&
             (!rule.offset || (*rule.offset >= offset && *rule.offset < offset + length));
    });
    if (hit == active_.end() || rules_[*hit].number == 0) co_return ok();
    Rule& rule = rules_[*hit];
    const int number = rule.number;
    const bool immediately = rule.immediately;
    if (rule.once) {
      rule.spent = true;
      active_.erase(hit);
    }
    if (!immediately) co_await world().scheduler.yield();
    co_return os_error(number);
  }

  std::vector<Rule> rules_;  // in the order given
  std::vector<std::size_t> active_;
  std::int64_t state_ = 1;
  Json shown_;
};

Result<Rule> read_rule(const Json& given) {
  Rule rule;
  rule.event = given["event"].get<std::string>();
  if (!is_listed(kEvents, rule.event) || given.contains("delay-ns"))
    return Error{ErrorClass::generic,
                 fmt::format("understudy: {} of driver 'blkdebug' is not in this version",
                             given.contains("delay-ns") ? "option 'inject-error.delay-ns'"
                                                        : "event '" + rule.event + "'")};
  rule.state = given.value("state", std::int64_t{0});
  if (given.contains("new_state")) {
    rule.new_state = given["new_state"].get<std::int64_t>();
    return rule;
  }
  for (const auto& [name, type] : kIoTypes)
    if (given.value("iotype", "") == name) rule.types = type;
  rule.number = given.value("errno", EIO);
  const std::int64_t sector = given.value("sector", std::int64_t{-1});
  if (sector != -1) rule.offset = static_cast<std::uint64_t>(sector) * 512;
  rule.once = given.value("once", false);
  rule.immediately = given.value("immediately", false);
  return rule;
}

// What requests are cut and rounded to: multiples of `align`, or of the best size.
Result<> check_limits(const Json& options, const Profile& profile) {
  TRY_OK(check_sizes(
      options,
      {"align", "max-transfer", "opt-write-zero", "max-write-zero", "opt-discard", "max-discard"},
      profile));
  const auto value = [&](const char* name) { return options.value(name, std::uint64_t{0}); };
  const auto refuse = [&](const char* name) {
    return Error{ErrorClass::generic,
                 fmt::format("Cannot meet constraints with {} {}", name, value(name))};
  };
  const std::uint64_t align = std::max<std::uint64_t>(value("align"), 1);
  if (align >= INT32_MAX || (align & (align - 1)) != 0) return refuse("align");
  for (const auto& [name, best] :
       {std::pair{"max-transfer", ""}, std::pair{"opt-write-zero", ""},
        std::pair{"max-write-zero", "opt-write-zero"}, std::pair{"opt-discard", ""},
        std::pair{"max-discard", "opt-discard"}}) {
    const std::uint64_t unit = std::max(*best != 0 ? value(best) : 0, align);
    if (value(name) >= INT32_MAX || value(name) % unit != 0) return refuse(name);
  }
  return ok();
}

// One that says nothing is taken.
Result<> check_config(block::Graph& graph, const Json& options) {
  if (!options.contains("config")) return ok();
  const std::string name = options["config"].get<std::string>();
  auto opened = graph.files().open(name, storage::Access::read_only);
  if (!opened) return os_error(opened.error().number, "Could not read blkdebug config file");
  if ((*opened)->size() == 0) return ok();
  return Error{ErrorClass::generic,
               "understudy: configuration files of driver 'blkdebug' are not in this version"};
}

Result<> check_options(block::Graph& graph, const Json& options) {
  // An empty list is an option that nobody takes.
  for (const char* name : {"take-child-perms", "unshare-child-perms"})
    if (options.contains(name) && options[name].empty())
      return Error{ErrorClass::generic,
                   fmt::format("Block protocol 'blkdebug' doesn't support the option '{}'", name)};
  TRY_OK(check_config(graph, options));
  return check_limits(options, graph.profile());
}

}  // namespace

Task<Result<block::NodePtr>> open_blkdebug(block::Graph& graph, Common common, Json options) {
  CO_TRY_OK(settle(graph, common));
  std::vector<Rule> rules;
  Json shown = Json::object();
  for (const char* kind : {"inject-error", "set-state"}) {
    if (!options.contains(kind)) continue;
    for (const Json& given : options[kind]) {
      CO_TRY(Rule rule, read_rule(given));
      rules.push_back(std::move(rule));
    }
    for (std::size_t i = 0; i < options[kind].size(); ++i)
      for (const auto& [name, value] : options[kind][i].items())
        shown[fmt::format("{}.{}.{}", kind, i, name)] = value;
  }
  for (const char* name : {"config", "align", "max-transfer", "opt-write-zero", "max-write-zero",
                           "opt-discard", "max-discard", "take-child-perms", "unshare-child-perms"})
    if (options.contains(name)) shown[name] = options[name];
  CO_TRY_OK(check_options(graph, options));
  CO_TRY(const block::NodePtr image,
         co_await open_child(graph, options["image"], common.for_children));
  auto node =
      std::make_shared<Blkdebug>(graph, std::move(common.name), std::move(rules), std::move(shown));
  node->read_only = common.read_only;
  node->inactive = common.inactive;
  CO_TRY_OK(graph.attach(*node, image, "image", block::kFiltered | block::kPrimary));
  if (!graph.profile().filters_follow_children) node->keep_size();
  co_return node;
}

}  // namespace sim::driver
