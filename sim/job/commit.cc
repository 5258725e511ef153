#include "sim/job/commit.h"

#include <algorithm>

#include "sim/base/scratch.h"
#include "sim/block/chain.h"

namespace sim::job {

static constexpr std::uint64_t kChunk = 512_KiB;

Commit::Commit(block::Graph& graph, CommitSettings settings)
    : BlockJob(graph, "commit", settings.job),
      settings_(std::move(settings)),
      base_(graph, "",
            {block::kConsistentRead | block::kWrite,
             block::kConsistentRead | block::kWriteUnchanged}),
      top_(graph, "", {}) {
  top_.queues_requests = base_.queues_requests = false;
  preset_speed(settings_.speed);
}

Task<Result<>> Commit::take_nodes() {
  CO_TRY_OK(hold_main(settings_.active, {}));
  base_was_read_only_ = settings_.base->read_only;
  if (base_was_read_only_) CO_TRY_OK(co_await graph().set_read_only(settings_.base, false));
  co_return take_chain();
}

Result<> Commit::take_chain() {
  const block::NodePtr& top = settings_.top;
  const block::NodePtr& base = settings_.base;
  TRY(std::string name, choose_filter_name(settings_.filter_node_name));
  filter_ = std::make_shared<CommitTop>(graph(), std::move(name), "commit_top");
  filter_->implicit = !settings_.filter_node_name;
  filter_->read_only = true;
  TRY_OK(graph().insert_above(filter_, top, "backing", block::kFiltered | block::kPrimary));
  graph().add(filter_);
  TRY_OK(graph().freeze_chain(*filter_, base.get()));
  frozen_ = true;
  for (block::Node* layer = top.get(); layer != base.get(); layer = block::below(*layer)) {
    base_overlay_ = layer;
    TRY_OK(hold("intermediate node", layer->shared_from_this(),
                {0, block::kWriteUnchanged | block::kWrite}));
  }
  TRY_OK(hold("base", base, {}));
  if (base->size() < top->size()) {
    block::Permission more = base_.permission();
    more.needed |= block::kResize;
    TRY_OK(base_.set_permission(more));
  }
  TRY_OK(base_.insert(base));
  return top_.insert(top);
}

Task<Result<>> Commit::copy(std::uint64_t offset, std::uint64_t length, bool zero, bool& reading) {
  if (zero && profile().commit_keeps_zeroes)
    co_return co_await base_.write_zeroes(offset, length, {.unmap = true});
  Scratch buffer(length);
  reading = true;
  CO_TRY_OK(co_await settings_.top->read(offset, buffer));
  reading = false;
  co_return co_await base_.write(offset, buffer);
}

Task<Result<>> Commit::run() {
  const std::uint64_t length = settings_.top->size();
  set_total(length);
  if (settings_.base->size() < length)
    CO_TRY_OK(co_await settings_.base->truncate({.size = length}));
  Duration delay{};
  for (std::uint64_t offset = 0; offset < length;) {
    co_await keep_to_speed(delay);
    if (is_cancelled()) break;
    std::uint64_t n = std::min(kChunk, length - offset);
    bool reading = true, copied = false;
    Result<> done = ok();
    auto above = co_await status_above(*settings_.top, settings_.base.get(), offset, n);
    if (!above) {
      done = std::move(above).error();
    } else {
      n = above->length;
      copied = above->allocated;
      if (copied) done = co_await copy(offset, n, above->zero, reading);
    }
    if (!done) {
      if (error_action(settings_.on_error, reading, done.error()) == block::Action::report)
        co_return done;
      delay = {};
      continue;
    }
    advance(n);
    delay = copied ? delay_after(n) : Duration{};
    offset += n;
  }
  co_return ok();
}

void Commit::thaw() {
  if (frozen_) graph().thaw_chain(*filter_, settings_.base.get());
  frozen_ = false;
}

// Whoever had the top layer as its backing file has the base: also in its image's header.
Task<Result<>> Commit::move_overlays(block::NodePtr top, const std::string& name) {
  std::vector<block::NodePtr> overlays;
  for (const block::Edge* edge : top->parents())
    if (edge->parent() != nullptr && (edge->roles() & block::kCow) != 0)
      overlays.push_back(edge->parent()->shared_from_this());
  const std::string format = block::skip_filters(*settings_.base).driver();
  for (const block::NodePtr& overlay : overlays) {
    const bool read_only = overlay->read_only;
    if (read_only) CO_TRY_OK(co_await graph().set_read_only(overlay, false));
    Result<> done = co_await overlay->change_backing_name(name, format);
    if (read_only) CO_TRY_OK(co_await graph().set_read_only(overlay, true));
    CO_TRY_OK(done);
  }
  co_return graph().replace(top, settings_.base);
}

Task<Result<>> Commit::prepare() {
  thaw();
  top_.remove();
  base_.remove();
  const std::string name =
      settings_.backing_file.empty() ? settings_.base->filename() : settings_.backing_file;
  co_await graph().drain_begin(settings_.base);
  Result<> done = co_await move_overlays(filter_, name);
  graph().drain_end(*settings_.base);
  co_return done;
}

static Task<void> make_read_only(block::Graph& graph, block::NodePtr node) {
  (void)co_await graph.set_read_only(std::move(node), true);
}

// What it has used stays in use until a job that succeeded is dismissed (measured, 5.2 to 11.1).
void Commit::clean(bool success) {
  if (!settings_.top) return;  // done before
  top_.remove();
  base_.remove();
  if (!success) release_nodes();
  if (filter_) {
    thaw();
    if (filter_->filtered() != nullptr)
      CHECK(graph().drop_filter(filter_), "a filter that needs nothing can go");
  }
  if (base_was_read_only_) world().scheduler.spawn(make_read_only(graph(), settings_.base));
  filter_.reset();
  settings_.top.reset();
  settings_.base.reset();
  settings_.active.reset();
  graph().collect_soon();
}

}  // namespace sim::job
