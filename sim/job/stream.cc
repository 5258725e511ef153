#include "sim/job/stream.h"

#include <algorithm>

#include "sim/block/chain.h"
#include "sim/driver/copy_on_read.h"

namespace sim::job {

static constexpr std::uint64_t kChunk = 512_KiB;

// The filter above the node.  When the job ends it needs nothing any more.
class StreamFilter final : public driver::CopyOnRead {
 public:
  using CopyOnRead::CopyOnRead;
  block::Permission child_permission(const block::Edge& child,
                                     block::Permission above) const override {
    if (stopped) return {.needed = keeps ? block::kWriteUnchanged : block::Permissions{}};
    block::Permission result = CopyOnRead::child_permission(child, above);
    result.needed |= block::kConsistentRead;
    return result;
  }
  // QEMU flushes only what a node has permission to write to: up to 7.2 a filter that is closed
  // when its job has ended has none, and the image's tables stay unwritten (measured: a kill then
  // loses them; from 10.0 on it does not).
  Task<Result<>> do_flush() override {
    if (stopped && !keeps) co_return ok();
    co_return co_await CopyOnRead::do_flush();
  }
  bool stopped = false;
  bool keeps = false;  // and does not let go of that (from 10.0, of a job that ran)
};

Stream::Stream(block::Graph& graph, StreamSettings settings)
    : BlockJob(graph, "stream", settings.job),
      settings_(std::move(settings)),
      user_(std::make_unique<block::Backend>(
          graph, "",
          // Without a filter it is the job itself that copies up.
          block::Permission{block::kConsistentRead |
                                (graph.profile().stream_has_filter ? 0 : block::kWriteUnchanged),
                            block::kConsistentRead | block::kWriteUnchanged | block::kWrite})) {
  user_->queues_requests = false;
  preset_speed(settings_.speed);
}

Task<Result<>> Stream::take_nodes() {
  block::Node& node = *settings_.node;
  base_overlay_ = &block::skip_filters(node);
  while (block::next_layer(*base_overlay_) != nullptr &&
         block::next_layer(*base_overlay_) != settings_.base.get())
    base_overlay_ = block::next_layer(*base_overlay_);
  if (!settings_.base) {
    while (block::Node* next = block::next_layer(*base_overlay_)) base_overlay_ = next;
  }
  block::Node* above = &node;
  while (block::below(*above) != nullptr && block::below(*above) != settings_.base.get())
    above = block::below(*above);
  above_base_ = above->shared_from_this();
  CO_TRY_OK(graph().freeze_chain(node, above));
  frozen_ = true;
  was_read_only_ = node.read_only;
  if (was_read_only_) {
    const Result<> writable = co_await graph().set_read_only(settings_.node, false);
    if (!writable) never_be();
    CO_TRY_OK(writable);
  }
  co_return take_chain();
}

Result<> Stream::take_chain() {
  const block::NodePtr& node = settings_.node;
  if (profile().stream_has_filter) {
    auto chosen = choose_filter_name(settings_.filter_node_name);
    if (!chosen) {
      Error error = std::move(chosen).error();
      error.desc = "Could not create node: " + error.desc;
      never_be();
      return error;
    }
    std::string name = *std::move(chosen);
    auto filter = std::make_shared<StreamFilter>(graph(), std::move(name));
    filter->bottom = base_overlay_->weak_from_this();
    filter->has_bottom = true;
    filter_ = filter;
    filter_->implicit = !settings_.filter_node_name;
    // Opened above the node, before its users come to it.
    if (Result<> opened =
            graph().attach(*filter_, node, "file", block::kFiltered | block::kPrimary);
        !opened) {
      Error error = std::move(opened).error();
      error.desc = "Could not create node: " + error.desc;
      never_be();
      return error;
    }
    graph().detach(*filter_, "file");
    if (Result<> above =
            graph().insert_above(filter_, node, "file", block::kFiltered | block::kPrimary);
        !above) {
      never_be();
      return above;
    }
    graph().add(filter_);
  }
  if (Result<> usable = check_id(); !usable) {
    never_be();
    return usable;
  }
  const block::NodePtr& main = filter_ ? filter_ : node;
  // 5.2 has no filter to be in between: the job is refused as a whole.
  if (!filter_ && !profile().job_comes_before_node) {
    Result<> taken = user_->insert(main);
    if (!taken) never_be();
    TRY_OK(taken);
  }
  TRY_OK(hold("main node", main, {0, block::kAllPermissions}));
  if (settings_.speed_is_negative)
    return Error{ErrorClass::generic, "Parameter 'speed' expects a non-negative value"};
  if (!user_->node()) TRY_OK(user_->insert(main));
  Result<> taken = take_layers();
  if (!taken && profile().refused_stream_crashes)
    graph().crash = "a stream is refused a node after it has been created";
  return taken;
}

Result<> Stream::take_layers() {
  constexpr block::Permissions kBasic = block::kConsistentRead | block::kWriteUnchanged;
  const block::NodePtr& node = settings_.node;
  TRY_OK(hold("active node", node, {0, kBasic | block::kWrite}));
  for (block::Node* layer = block::below(*node); layer != nullptr && layer != settings_.base.get();
       layer = block::below(*layer))
    TRY_OK(hold("intermediate node", layer->shared_from_this(), {0, kBasic}));
  return ok();
}

Task<Result<>> Stream::run() {
  ran_ = true;
  block::Node& node = block::skip_filters(*settings_.node);
  if (&node == base_overlay_) co_return ok();  // nothing to do
  if (filter_ || settings_.base) co_return co_await copy_all(node);
  // Guests' reads help, where that cannot copy what is to stay below.
  ++node.copy_on_read;
  Result<> done = co_await copy_all(node);
  --node.copy_on_read;
  co_return done;
}

Task<Result<>> Stream::copy_all(block::Node& node) {
  const std::uint64_t length = node.size();
  set_total(length);
  Result<> failure = ok();
  Duration delay{};
  for (std::uint64_t offset = 0; offset < length;) {
    co_await keep_to_speed(delay);
    if (is_cancelled()) break;
    Result<> done = ok();
    bool copy = false;
    std::uint64_t n = std::min(kChunk, length - offset);
    if (auto own = co_await node.status(offset, n); !own) {
      done = std::move(own).error();
    } else {
      n = own->length;
      // A short layer below ends the work, if it is the next.
      if (!own->allocated && offset >= block::next_layer(node)->size()) {
        n = length - offset;
      } else if (!own->allocated) {
        auto below =
            co_await status_above(*block::next_layer(node), settings_.base.get(), offset, n);
        if (!below)
          done = std::move(below).error();
        else
          copy = below->allocated, n = below->length;
      }
    }
    if (copy) done = co_await node.copy_up(offset, n);
    if (!done) {
      const block::Action action = error_action(settings_.on_error, true, done.error());
      if (action == block::Action::stop) {
        delay = {};
        continue;
      }
      if (failure) failure = done;
      if (action == block::Action::report) break;
    }
    advance(n);
    delay = copy ? delay_after(n) : Duration{};
    offset += n;
  }
  co_return failure;
}

void Stream::drop_filter() {
  if (frozen_) graph().thaw_chain(*settings_.node, above_base_.get());
  frozen_ = false;
  if (!filter_) return;
  auto& filter = static_cast<StreamFilter&>(*filter_);
  filter.stopped = true;
  filter.keeps = ran_ && !profile().concluded_stream_filter_is_hollow;
  const block::NodePtr below = filter_->filtered()->shared_from_this();
  CHECK(graph().drop_filter(filter_), "a filter that needs nothing can go");
  CHECK(graph().attach(*filter_, below, "file", block::kFiltered | block::kPrimary),
        "it needs nothing");
  filter_->outlived_job = true;
  filter_.reset();
}

Task<Result<>> Stream::prepare() {
  user_->remove();
  drop_filter();
  block::Node& node = block::skip_filters(*settings_.node);
  if (node.backing() == nullptr) co_return ok();
  block::NodePtr base = settings_.base;
  std::string name, format;
  if (base) {
    const block::Node& image = block::skip_filters(*base);
    name = settings_.backing_file.empty() ? image.filename() : settings_.backing_file;
    format = image.driver();
  }
  co_await graph().drain_begin(settings_.node);
  Result<> done = graph().set_backing(node, base);
  if (done) done = co_await node.change_backing_name(name, format);
  graph().drain_end(*settings_.node);
  co_return done;
}

static Task<void> make_read_only(block::Graph& graph, block::NodePtr node) {
  (void)co_await graph.set_read_only(std::move(node), true);
}

void Stream::clean(bool success) {
  (void)success;
  if (!settings_.node) return;  // done before
  const bool was_refused = !ran_ && profile().stream_has_filter && user_->node();
  if (!was_refused) user_->remove();
  if (filter_ && filter_->filtered() == nullptr) filter_.reset();
  drop_filter();
  // QEMU forgets to remove it then (measured, 7.2 to 11.1).
  if (was_refused) graph().lost.push_back(std::move(user_));
  if (was_read_only_ && (profile().stream_restores_node || !ran_))
    world().scheduler.spawn(make_read_only(graph(), settings_.node));
  settings_.node.reset();
  settings_.base.reset();
  above_base_.reset();
  graph().collect_soon();
}

}  // namespace sim::job
