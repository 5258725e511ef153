#include "sim/block/node.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/base/qdict_text.h"
#include "sim/block/debugger.h"
#include "sim/block/graph.h"

namespace sim::block {

Node::Node(Graph& graph, std::string name, std::string driver)
    : graph_(graph), name_(std::move(name)), driver_(std::move(driver)) {}

Node::~Node() = default;

World& Node::world() const { return graph_.world(); }

// --- the graph -----------------------------------------------------------------------------------

Edge* Node::child_edge(std::string_view name) const {
  for (const EdgePtr& edge : children_)
    if (edge->name() == name) return edge.get();
  return nullptr;
}

Node* Node::child(std::string_view name) const {
  const Edge* edge = child_edge(name);
  return edge == nullptr ? nullptr : edge->node().get();
}

Node* Node::filtered() const {
  for (const EdgePtr& edge : children_)
    if ((edge->roles() & kFiltered) != 0 && is_filter()) return edge->node().get();
  return nullptr;
}

std::string Node::filtered_name() const {
  for (const EdgePtr& edge : children_)
    if ((edge->roles() & kFiltered) != 0 && is_filter()) return edge->name();
  return {};
}

Permission Node::child_permission(const Edge& child, Permission above) const {
  return default_child_permission(child.roles(), above, !read_only, inactive);
}

Permission Node::cumulative() const {
  Permission all;
  for (const Edge* edge : parents_) {
    all.needed |= edge->needed();
    all.shared &= edge->shared();
  }
  return all;
}

std::string Node::device_name() const {
  for (const Edge* edge : parents_)
    if (edge->user() != nullptr && !edge->user()->device_name().empty())
      return edge->user()->device_name();
  return {};
}

std::string Node::device_or_node_name() const {
  std::string device = device_name();
  return device.empty() ? name_ : device;
}

void Node::block(Ops ops, Reason reason) { blockers_.insert(blockers_.begin(), {reason, ops}); }

void Node::unblock(const Reason& reason) {
  std::erase_if(blockers_, [&](const Blocker& blocker) { return blocker.reason == reason; });
}

void Node::unblock(const Reason& reason, Op op) {
  for (Blocker& blocker : blockers_)
    if (blocker.reason == reason) blocker.ops = blocker.ops.without(op);
}

Result<> Node::check_allowed(Op op) const {
  for (const Blocker& blocker : blockers_)
    if (blocker.ops.has(op))
      return Error{ErrorClass::generic,
                   fmt::format("Node '{}' is busy: {}", device_or_node_name(), *blocker.reason)};
  return ok();
}

std::shared_ptr<DirtyBitmap> Node::find_bitmap(std::string_view name) const {
  if (name.empty()) return nullptr;
  for (const auto& bitmap : bitmaps)
    if (bitmap->name() == name) return bitmap;
  return nullptr;
}

// --- drained sections ----------------------------------------------------------------------------

void Node::begin_quiet() {
  if (++quiesced_ > 1) return;
  const std::vector<Edge*> above = parents_;
  for (Edge* edge : above) edge->begin_quiet();
  drain_begin_driver();
}

void Node::end_quiet() {
  CHECK(quiesced_ > 0, "a drained section ends that did not begin");
  if (--quiesced_ > 0) return;
  drain_end_driver();
  const std::vector<Edge*> above = parents_;
  for (Edge* edge : above) edge->end_quiet();
}

bool Node::is_busy() const {
  if (in_flight_ > 0) return true;
  return std::ranges::any_of(parents_, [](const Edge* edge) {
    return edge->user() != nullptr ? edge->user()->is_busy() : edge->parent()->is_busy();
  });
}

// --- file names ----------------------------------------------------------------------------------

std::string Node::exact_filename() const { return {}; }

std::string Node::filename() const {
  if (implicit) return filtered()->filename();
  std::string exact = exact_filename();
  if (!exact.empty()) return exact;
  return "json:" + qdict_text(open_options());
}

Json Node::open_options() const {
  if (implicit) return filtered()->open_options();
  Json result = {{"driver", driver_}};
  for (const EdgePtr& edge : children_) result[edge->name()] = edge->node()->open_options();
  return result;
}

// --- what a driver may not have ------------------------------------------------------------------

Task<Result<>> Node::change_backing_name(std::string /*file*/, std::string /*format*/) {
  co_return os_error(ENOTSUP);
}
Task<Result<>> Node::make_empty() { co_return os_error(ENOTSUP); }
Task<Result<>> Node::create_snapshot(InternalSnapshot /*wanted*/) { co_return os_error(ENOTSUP); }
Task<Result<>> Node::apply_snapshot(std::string /*id_or_name*/) { co_return os_error(ENOTSUP); }
Task<Result<>> Node::delete_snapshot(std::string /*id*/) { co_return os_error(ENOTSUP); }
Task<Result<>> Node::read_vm_state(std::uint64_t /*at*/, MutableBytes /*into*/) {
  co_return os_error(ENOTSUP);
}
Task<Result<>> Node::write_vm_state(std::uint64_t /*at*/, Bytes /*from*/) {
  co_return os_error(ENOTSUP);
}
Task<Result<>> Node::forget_stored_bitmap(std::string /*name*/) { co_return os_error(ENOTSUP); }

// Measured on 5.2 to 11.1: asked of raw, null and filter nodes.
Result<> Node::can_store_bitmap(const std::string& name, std::uint64_t /*granularity*/) const {
  (void)name;
  return Error{ErrorClass::generic,
               fmt::format("Can't store persistent bitmaps to {}: Operation not supported",
                           device_or_node_name())};
}

Result<> Node::check_reopen(const Json& /*wanted*/, bool /*writable*/) const { return ok(); }
Task<Result<>> Node::prepare_reopen(Json /*options*/, bool /*writable*/) { co_return ok(); }

Task<Result<>> Node::do_write_compressed(std::uint64_t /*offset*/, Bytes /*from*/) {
  co_return os_error(ENOTSUP);
}
Task<Result<>> Node::do_truncate(Truncate /*wanted*/) {
  co_return Error{ErrorClass::generic, "Image format driver does not support resize", ENOTSUP};
}

// --- requests ------------------------------------------------------------------------------------

struct Node::Flight {
  explicit Flight(Node& node) : node(node), kept(node.shared_from_this()) { ++node.in_flight_; }
  ~Flight() {
    if (--node.in_flight_ == 0 && node.parents_.empty() && !node.monitor_owned && node.closes_late_)
      node.graph_.collect_soon();
  }
  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;
  Node& node;
  NodePtr kept;
};

Result<> Node::check_writable() const { return read_only || inactive ? os_error(EPERM) : ok(); }

static void set_bitmaps(const Node& node, std::uint64_t offset, std::uint64_t length) {
  for (const auto& bitmap : node.bitmaps)
    if (bitmap->is_recording()) bitmap->set(offset, length);
}

void Node::mark_dirty(std::uint64_t offset, std::uint64_t length) {
  ++writes_;
  set_bitmaps(*this, offset, length);
  note_write(offset, length);
}

void Node::note_write(std::uint64_t offset, std::uint64_t length) {
  check_threshold(offset, length);
  highest_write_ = std::max(highest_write_, offset + length);
}

void Node::check_threshold(std::uint64_t offset, std::uint64_t length) {
  if (write_threshold == 0 || offset + length <= write_threshold) return;
  const std::uint64_t threshold = std::exchange(write_threshold, 0);
  if (graph_.observer != nullptr)
    graph_.observer->threshold_exceeded(*this, threshold, offset + length - threshold);
}

static bool is_all_zero(Bytes bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

Task<Result<>> Node::read(std::uint64_t offset, MutableBytes into) {
  CHECK(offset + into.size() <= size());
  world().record("read", offset, into.size());
  const Flight flight(*this);
  if (copy_on_read > 0) CO_TRY_OK(co_await copy_up(offset, into.size()));
  co_return co_await do_read(offset, into);
}

Task<Result<>> Node::copy_up(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t cluster = std::max<std::uint64_t>(cluster_size(), 1);
  const std::uint64_t end = std::min(align_up(offset + length, cluster), size());
  for (std::uint64_t at = offset / cluster * cluster; at < end;) {
    CO_TRY(const Status own, co_await status(at, end - at));
    if (!own.allocated) {
      const Flight flight(*this);
      std::vector<std::byte> buffer(own.length);
      CO_TRY_OK(co_await do_read(at, buffer));
      world().record("copy up", at, own.length);
      if (is_all_zero(buffer))
        CO_TRY_OK(co_await do_write_zeroes(at, own.length, {}));
      else
        CO_TRY_OK(co_await do_write(at, buffer));
    }
    at += own.length;
  }
  co_return ok();
}

Task<Result<>> Node::write(std::uint64_t offset, Bytes from) {
  CO_TRY_OK(check_writable());
  if (detect_zeroes != DetectZeroes::off && is_all_zero(from))
    co_return co_await write_zeroes(offset, from.size(),
                                    {.unmap = detect_zeroes == DetectZeroes::unmap});
  world().record("write", offset, from.size());
  const Flight flight(*this);
  check_threshold(offset, from.size());
  Result<> result = co_await do_write(offset, from);
  mark_dirty(offset, from.size());
  co_return result;
}

Task<Result<>> Node::write_compressed(std::uint64_t offset, Bytes from) {
  CO_TRY_OK(check_writable());
  world().record("write compressed", offset, from.size());
  const Flight flight(*this);
  check_threshold(offset, from.size());
  Result<> result = co_await do_write_compressed(offset, from);
  mark_dirty(offset, from.size());
  co_return result;
}

Task<Result<>> Node::write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroFlags flags) {
  CO_TRY_OK(check_writable());
  world().record("write zeroes", offset, length);
  const bool forced = std::exchange(flags.forced, false);
  flags.unmap = flags.unmap && (discard_unmap || forced);
  const Flight flight(*this);
  check_threshold(offset, length);
  Result<> result = co_await do_write_zeroes(offset, length, flags);
  mark_dirty(offset, length);
  co_return result;
}

Task<Result<>> Node::discard(std::uint64_t offset, std::uint64_t length) {
  CO_TRY_OK(check_writable());
  if (!discard_unmap) co_return ok();  // discard=ignore: nothing happens, nothing gets dirty
  world().record("discard", offset, length);
  const Flight flight(*this);
  Result<> result = co_await do_discard(offset, length);
  ++writes_;  // and yet no write: neither threshold nor highest write know of it
  set_bitmaps(*this, offset, length);
  co_return result;
}

Task<Result<>> Node::flush() {
  const Flight flight(*this);
  const std::uint64_t writes = writes_;
  Node* const next = is_filter() ? filtered() : file();
  if (next != nullptr && next->debugger() != nullptr && !read_only)
    CO_TRY_OK(co_await raise_flush(*next->debugger()));
  Result<> done = co_await do_flush();
  if (done) flushed_writes_ = writes;
  co_return done;
}

Task<Result<>> Node::raise_flush(Debugger& debugger) {
  co_await debugger.raise("flush_to_os");
  CO_TRY_OK(co_await do_flush_to_os());
  if (!cache_no_flush && has_unflushed_writes()) co_await debugger.raise("flush_to_disk");
  co_return ok();
}

Task<Result<>> Node::truncate(Truncate wanted) {
  constexpr std::uint64_t kMost = 0x7fff'ffff'c000'0000;  // bytes
  if (wanted.size > kMost && graph_.profile().range_is_checked_first)
    co_return Error{ErrorClass::generic,
                    fmt::format("offset({}) exceeds maximum({})", wanted.size, kMost), EFBIG};
  if (read_only) co_return Error{ErrorClass::generic, "Image is read-only", EACCES};
  const Flight flight(*this);
  ++writes_;
  CO_TRY_OK(co_await do_truncate(wanted));
  for (const auto& bitmap : bitmaps) bitmap->resize(size());
  const std::vector<Edge*> above = parents_;
  for (Edge* edge : above)
    if (edge->user() != nullptr) edge->user()->resized();
  co_return ok();
}

}  // namespace sim::block
