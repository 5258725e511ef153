// Driver `blkdebug`: passes requests on, or fails them by rules.
//
// Source: QAPI's BlockdevOptionsBlkdebug.  Events that nothing raises here are refused by name.
// Limits are checked and shown, and change nothing that can be seen.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <coroutine>
#include <list>

#include "sim/base/qdict_text.h"
#include "sim/base/text.h"
#include "sim/block/debugger.h"
#include "sim/block/filter.h"
#include "sim/driver/blkdebug_config.h"
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

struct Rule {
  std::string event;
  std::int32_t state = 0;                 // 0: any
  std::optional<std::int32_t> new_state;  // a set-state rule
  std::optional<std::string> breakpoint;  // holds the next request, under that name
  unsigned types = kRead | kWrite | kWriteZeroes | kDiscard | kFlush;
  int number = EIO;
  std::optional<std::uint64_t> offset;  // bytes
  bool once = false, immediately = false;
  bool spent = false;
};

class Blkdebug final : public block::FilterNode, public block::Debugger {
 public:
  Blkdebug(block::Graph& graph, std::string name, std::vector<Rule> rules, Json shown)
      : FilterNode(graph, std::move(name), "blkdebug"),
        rules_(std::move(rules)),
        shown_(std::move(shown)),
        newly_held_(graph.world().scheduler) {
    (void)apply("none");  // it happens once, when the node is opened
  }

  // --- Debugger ---

  block::Debugger* debugger() override { return this; }
  Task<void> raise(std::string_view event) override {
    for (std::string& tag : apply(event)) co_await Hold{*this, std::move(tag)};
  }
  Result<> set_breakpoint(std::string_view event, std::string tag) override {
    if (!is_blkdebug_event(event)) return os_error(ENOENT);
    Rule rule;
    rule.event = event;
    rule.breakpoint = std::move(tag);
    rules_.push_back(std::move(rule));
    return ok();
  }
  Result<> resume(std::string_view tag) override {
    const auto found = std::ranges::find(held_, tag, &Held::tag);
    if (found == held_.end()) return os_error(ENOENT);
    let_go(found);
    return ok();
  }
  Result<> remove_breakpoint(std::string_view tag) override {
    bool found = false;
    for (Rule& rule : rules_) {
      if (rule.spent || rule.breakpoint != tag) continue;
      rule.spent = found = true;
    }
    for (auto it = held_.begin(); it != held_.end();) {
      const auto next = std::next(it);
      if (it->tag == tag) {
        let_go(it);
        found = true;
      }
      it = next;
    }
    return found ? ok() : os_error(ENOENT);
  }
  Task<void> wait_held(std::string tag) override {
    while (std::ranges::find(held_, tag, &Held::tag) == held_.end()) co_await newly_held_.wait();
  }
  bool holds_requests() const override { return !held_.empty(); }
  void remove_all_breakpoints() override {
    for (Rule& rule : rules_) rule.spent |= rule.breakpoint.has_value();
    while (!held_.empty()) let_go(held_.begin());
  }
  bool expects_events() const override {
    return std::ranges::any_of(rules_, [](const Rule& rule) {
      return !rule.spent && !is_listed("none|pwritev|pwritev_zero|pwritev_done", rule.event);
    });
  }

  // QEMU: only a configuration file has a place in the name.
  std::string exact_filename() const override {
    const bool has_config = shown_.contains("config");
    if (shown_.size() > (has_config ? 1U : 0U)) return {};
    const std::string below = filtered()->exact_filename();
    if (below.empty()) return below;
    return fmt::format("blkdebug:{}:{}", has_config ? shown_["config"].get<std::string>() : "",
                       below);
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
    co_await raise("pwritev");
    Result<> done = co_await check(offset, from.size(), kWrite);
    if (done) done = co_await FilterNode::do_write(offset, from);
    co_await raise("pwritev_done");
    co_return done;
  }
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                 block::ZeroFlags flags) override {
    co_await raise("pwritev_zero");
    Result<> done = co_await check(offset, length, kWriteZeroes);
    if (done) done = co_await FilterNode::do_write_zeroes(offset, length, flags);
    co_await raise("pwritev_done");
    co_return done;
  }
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override {
    CO_TRY_OK(co_await check(offset, length, kDiscard));
    co_return co_await FilterNode::do_discard(offset, length);
  }
  Task<Result<>> do_flush() override {
    if (!cache_no_flush && has_unflushed_writes()) CO_TRY_OK(co_await check(0, 0, kFlush));
    co_return co_await FilterNode::do_flush();
  }

 private:
  // A request that waits at a breakpoint.
  struct Held {
    std::string tag;
    std::coroutine_handle<> waiting;
  };
  struct Hold {
    Blkdebug& node;
    std::string tag;
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      node.print(fmt::format("blkdebug: Suspended request '{}'\n", tag));
      node.held_.push_front({std::move(tag), handle});
      node.newly_held_.wake_all();
    }
    void await_resume() const {}
  };

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

  void let_go(std::list<Held>::iterator held) {
    print(fmt::format("blkdebug: Resuming request '{}'\n", held->tag));
    world().scheduler.post(held->waiting);
    held_.erase(held);
  }
  void print(std::string_view text) const {
    if (graph().observer != nullptr) graph().observer->printed(text);
  }

  // The rules of an event replace those that were in force, if there are any in this state; all of
  // them see the state from before.  Returns the breakpoints that were met.
  std::vector<std::string> apply(std::string_view event) {
    std::vector<std::size_t> found;
    std::vector<std::string> breakpoints;
    std::int32_t next = state_;
    for (std::size_t i = rules_.size(); i-- > 0;) {
      Rule& rule = rules_[i];
      if (rule.spent || rule.event != event || (rule.state != 0 && rule.state != state_)) continue;
      if (rule.breakpoint) {
        rule.spent = true;
        breakpoints.push_back(*rule.breakpoint);
      } else if (rule.new_state) {
        next = *rule.new_state;
      } else {
        found.insert(found.begin(), i);
      }
    }
    if (!found.empty()) active_ = std::move(found);
    state_ = next;
    return breakpoints;
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
  std::int32_t state_ = 1;
  Json shown_;
  std::list<Held> held_;  // the last one first
  WaitQueue newly_held_;
};

Result<Rule> read_rule(const Json& given, bool sets_state) {
  const auto number = [&](const char* name, std::int64_t otherwise) {
    return static_cast<std::int32_t>(given.value(name, otherwise));
  };
  const auto no_such = [](std::string_view value) {
    return Error{ErrorClass::generic, fmt::format("invalid parameter value: {}", value)};
  };
  if (!given.contains("event")) return Error{ErrorClass::generic, "Missing event name for rule"};
  Rule rule;
  rule.event = given["event"].get<std::string>();
  if (!is_blkdebug_event(rule.event)) return no_such(rule.event);
  if (!is_raised_here(rule.event) || given.contains("delay-ns"))
    return Error{ErrorClass::generic,
                 fmt::format("understudy: {} of driver 'blkdebug' is not in this version",
                             given.contains("delay-ns") ? "option 'inject-error.delay-ns'"
                                                        : "event '" + rule.event + "'")};
  rule.state = number("state", 0);
  if (sets_state) {
    rule.new_state = number("new_state", 0);
    return rule;
  }
  const std::string type = given.value("iotype", "");
  const auto* const known =
      std::ranges::find(kIoTypes, std::string_view(type), [](const auto& it) { return it.first; });
  if (known != kIoTypes.end())
    rule.types = known->second;
  else if (given.contains("iotype"))
    return no_such(type);
  rule.number = number("errno", EIO);
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

// The rules of a configuration file, as options.
Task<Result<Json>> read_config(block::Graph& graph, std::string name) {
  const Profile& profile = graph.profile();
  auto opened = name.empty() ? Result<std::shared_ptr<storage::Storage>>(os_error(ENOENT))
                             : graph.files().open(name, storage::Access::read_only);
  if (!opened && opened.error().number == EISDIR)
    co_return profile.blkdebug_tells_config_fault
        ? os_error(EISDIR, "Cannot read config file")
        : Error{ErrorClass::generic, "Could not parse blkdebug config file"};
  if (!opened)
    co_return os_error(opened.error().number, profile.blkdebug_names_config
                                                  ? fmt::format("Could not open '{}'", name)
                                                  : "Could not read blkdebug config file");
  std::vector<std::byte> bytes((*opened)->size());
  CO_TRY_OK(co_await (*opened)->read(0, bytes));
  co_return parse_blkdebug_config({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                                  profile);
}

// The rules of the configuration file come before those of the options.
Task<Result<std::vector<Rule>>> read_rules(block::Graph& graph, const Json& options) {
  Json config = Json::object();
  if (options.contains("config")) {
    CO_TRY(config, co_await read_config(graph, options["config"].get<std::string>()));
  }
  std::vector<Rule> rules;
  for (const char* kind : {"inject-error", "set-state"})
    for (const Json* source : {&std::as_const(config), &options}) {
      if (!source->contains(kind)) continue;
      for (const Json& given : (*source)[kind]) {
        CO_TRY(Rule rule, read_rule(given, kind == std::string_view("set-state")));
        rules.push_back(std::move(rule));
      }
    }
  co_return rules;
}

Result<> check_options(block::Graph& graph, const Json& options) {
  // An empty list is an option that nobody takes.
  for (const char* name : {"take-child-perms", "unshare-child-perms"})
    if (options.contains(name) && options[name].empty())
      return Error{ErrorClass::generic,
                   fmt::format("Block protocol 'blkdebug' doesn't support the option '{}'", name)};
  return check_limits(options, graph.profile());
}

}  // namespace

Task<Result<block::NodePtr>> open_blkdebug(block::Graph& graph, Common common, Json options) {
  CO_TRY_OK(settle(graph, common));
  CO_TRY(std::vector<Rule> rules, co_await read_rules(graph, options));
  Json shown = Json::object();
  for (const char* kind : {"inject-error", "set-state"}) {
    if (!options.contains(kind)) continue;
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
