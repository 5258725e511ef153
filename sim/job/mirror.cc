#include "sim/job/mirror.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/block/chain.h"

namespace sim::job {

using block::NodePtr;

// Measured on 7.2: at most 16 requests at once, a run of 16 MiB at most, requests of 1 MiB.
static constexpr unsigned kRequestsMax = 16;
static constexpr std::uint64_t kRequestBytesMax = 1_MiB;
static constexpr std::uint64_t kBufferDefault = 16_MiB;
static constexpr Duration kIdle = milliseconds(100);

static Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

// Measured on 7.2, 10.0, 11.1: the destination's cluster within [4 KiB, 64 KiB]; else 64 KiB.
static std::uint64_t default_granularity(const block::Node& target) {
  const std::uint64_t cluster = target.cluster_size();
  return cluster == 0 ? 64_KiB : std::clamp<std::uint64_t>(cluster, 4_KiB, 64_KiB);
}

Result<> Mirror::check(const MirrorSettings& settings) {
  if (settings.granularity != 0) {
    if (settings.granularity < 512 || settings.granularity > 64_MiB)
      return generic("Parameter 'granularity' expects a value in range [512B, 64MB]");
    if (!is_power_of_two(settings.granularity))
      return generic("Parameter 'granularity' expects a power of 2");
  }
  if (settings.source == settings.target) return generic("Can't mirror node into itself");
  return ok();
}

block::Permission MirrorTop::child_permission(const block::Edge& child,
                                              block::Permission above) const {
  if (stopped) return {};
  block::Permission result = FilterNode::child_permission(child, above);
  if (is_commit) {  // the base is not read consistently meanwhile, and written through the job
    result.needed &= ~block::kConsistentRead;
    result.shared |= block::kWrite;
  }
  return result;
}

Task<Result<>> MirrorTop::do_write(std::uint64_t offset, Bytes from) {
  Result<> done = co_await FilterNode::do_write(offset, from);
  if (dirty) dirty->set(offset, from.size());
  co_return done;
}

Task<Result<>> MirrorTop::do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                          block::ZeroFlags flags) {
  Result<> done = co_await FilterNode::do_write_zeroes(offset, length, flags);
  if (dirty) dirty->set(offset, length);
  co_return done;
}

// What the job needs of its target and shares: nobody else may write or rely on it.
static constexpr block::Permission kTargetPermission{block::kWrite, block::kWriteUnchanged};

Mirror::Mirror(block::Graph& graph, MirrorSettings settings, MirrorCanary canary)
    : BlockJob(graph, settings.is_commit ? "commit" : "mirror", settings.job),
      settings_(std::move(settings)),
      canary_(canary),
      target_(graph, "", kTargetPermission),
      request_done_(graph.world().scheduler) {
  granularity_ =
      settings_.granularity != 0 ? settings_.granularity : default_granularity(*settings_.target);
  buf_size_ = settings_.buf_size != 0 ? std::max(settings_.buf_size, granularity_) : kBufferDefault;
  target_.queues_requests = false;
  preset_speed(settings_.speed);
}

Result<> Mirror::take_nodes() {
  const NodePtr& source = settings_.source;
  TRY(std::string name, graph().choose_name(settings_.filter_node_name));
  filter_ = std::make_shared<MirrorTop>(graph(), std::move(name), "mirror_top");
  filter_->implicit = settings_.filter_node_name.empty();
  filter_->is_commit = settings_.is_commit;
  // Left at discard_unmap = false: guest discards are dropped while the job exists (measured, 7.2).
  TRY_OK(graph().insert_above(filter_, source, "backing", block::kFiltered | block::kPrimary));
  graph().add(filter_);
  constexpr block::Permissions kOthers =
      block::kConsistentRead | block::kWriteUnchanged | block::kWrite;
  if (settings_.is_commit) {
    block::Permission wanted = target_.permission();
    wanted.shared |= block::kConsistentRead | block::kWrite;
    if (settings_.target->size() < source->size()) wanted.needed |= block::kResize;
    TRY_OK(target_.set_permission(wanted));
  }
  Result<> taken = hold("main node", filter_, {block::kConsistentRead, kOthers});
  if (taken) taken = target_.insert(settings_.target);
  if (taken) taken = hold("source", source, {0, kOthers});
  if (taken) taken = hold("target", settings_.target, {});
  if (taken && settings_.is_commit) taken = take_chain();
  if (!taken) return taken;
  dirty_ = std::make_shared<block::DirtyBitmap>("", source->size(), granularity_);
  if (profile().mirror_tracks_filter) {
    filter_->bitmaps.push_back(dirty_);
    filter_->dirty = dirty_;
    dirty_->enabled = false;
  } else {
    source->bitmaps.push_back(dirty_);
  }
  return ok();
}

// What lies between goes at the end, and is not to be touched until then.
Result<> Mirror::take_chain() {
  for (block::Node* layer = block::below(*settings_.source);
       layer != nullptr && layer != settings_.target.get(); layer = block::below(*layer))
    TRY_OK(hold("intermediate node", layer->shared_from_this(),
                {0, block::kWriteUnchanged | block::kWrite}));
  TRY_OK(graph().freeze_chain(*filter_, settings_.target.get()));
  frozen_ = true;
  return ok();
}

void Mirror::thaw() {
  if (frozen_) graph().thaw_chain(*filter_, settings_.target.get());
  frozen_ = false;
}

Task<Result<>> Mirror::make_target_writable() {
  target_was_read_only_ = settings_.target->read_only;
  return graph().set_read_only(settings_.target, false);
}

static Task<void> make_read_only(block::Graph& graph, NodePtr node) {
  (void)co_await graph.set_read_only(std::move(node), true);
}

void Mirror::clean(bool success) {
  if (!settings_.source) return;  // done before
  release_nodes();
  target_.remove();
  if (filter_) {
    thaw();
    filter_->stopped = true;
    if (filter_->filtered() != nullptr)
      CHECK(graph().drop_filter(filter_), "a filter that needs nothing can go");
  }
  if (dirty_) std::erase(settings_.source->bitmaps, dirty_);
  drained_ = false;
  if (target_was_read_only_ && profile().commit_restores_base && !success)
    world().scheduler.spawn(make_read_only(graph(), settings_.target));
  filter_.reset();
  settings_.source.reset();
  settings_.target.reset();
  settings_.replaces.reset();
  graph().collect_soon();
}

Result<> Mirror::do_complete() {
  if (!is_ready()) return Job::do_complete();
  should_complete_ = true;
  if (!is_paused()) enter();
  return ok();
}

// Pivot: whoever used the source uses the target from here on.
Task<Result<>> Mirror::prepare() {
  if (!should_complete_) co_return ok();
  release_nodes();
  target_.remove();
  thaw();
  filter_->stopped = true;
  CO_TRY_OK(graph().refresh({filter_.get()}));
  co_return graph().replace(settings_.replaces ? settings_.replaces : settings_.source,
                            settings_.target);
}

Task<Result<>> Mirror::run() {
  length_ = settings_.source->size();
  if (settings_.is_commit && length_ > settings_.target->size())
    CO_TRY_OK(co_await settings_.target->truncate({.size = length_}));
  if (!settings_.is_commit && length_ != settings_.target->size())
    co_return Error{ErrorClass::generic, "Source and target image have different sizes", EINVAL};
  if (length_ == 0) co_return co_await wait_for_end_of_empty_disk();
  find_out_about_target();
  requested_.assign(div_up(length_, granularity_), false);
  Result<> result = ok();
  if (settings_.sync != MirrorSync::none) result = co_await find_dirty();
  if (result && !is_cancelled()) result = co_await synchronise();
  while (requests_ > 0) co_await wait_for_a_request();
  co_return result;
}

Task<Result<>> Mirror::wait_for_end_of_empty_disk() {
  become_ready();
  while (!should_end()) co_await idle();
  co_return ok();
}

void Mirror::find_out_about_target() {
  const block::Node& target = *settings_.target;
  target_cluster_ = target.cluster_size();
  const bool cannot_copy_on_write = !target.header_backing_file().empty() &&
                                    target.backing() == nullptr && granularity_ < target_cluster_;
  if (!cannot_copy_on_write) return;
  buf_size_ = std::max(buf_size_, target_cluster_);
  whole_clusters_.assign(div_up(length_, target_cluster_), false);
}

// `full` on 7.2: a target node with discard=unmap is zeroed first and gets what some layer has; any
// other gets everything.  `top` takes what the top layer has.
Task<Result<>> Mirror::find_dirty() {
  const bool full = settings_.sync == MirrorSync::full && !settings_.is_commit;
  if (full && !settings_.target->discard_unmap) {
    dirty_->set(0, length_);
    co_return ok();
  }
  if (full) {
    co_await world().scheduler.yield();
    if (is_cancelled()) co_return ok();
    CO_TRY_OK(co_await target_.write_zeroes(0, length_, {.unmap = settings_.unmap}));
  }
  const block::Node* base = full ? nullptr : block::next_layer(*settings_.source);
  if (settings_.is_commit) base = settings_.target.get();
  for (std::uint64_t offset = 0; offset < length_ && !is_cancelled();) {
    CO_TRY(const block::Status status,
           co_await status_above(*settings_.source, base, offset, length_ - offset));
    if (status.allocated) dirty_->set(offset, status.length);
    offset += status.length;
  }
  co_return ok();
}

// --- the copying ---------------------------------------------------------------------------------

Task<Result<>> Mirror::synchronise() {
  for (;;) {
    if (failure_) co_return *failure_;
    co_await pause_point();
    if (is_cancelled()) co_return ok();
    std::uint64_t dirty = dirty_->count();
    set_total(requested_bytes_ + dirty);
    if (requests_ >= kRequestsMax || (dirty == 0 && requests_ > 0)) {
      co_await wait_for_a_request();
      continue;
    }
    Duration delay{};
    if (dirty != 0) delay = co_await start_requests();
    bool ending = false;
    if (requests_ == 0 && dirty == 0) {
      if (!is_ready()) {
        if (Result<> flushed = co_await target_.flush(); !flushed) co_return flushed;
        become_ready();
        if (canary_ == MirrorCanary::forgets_writes_after_ready) dirty_->enabled = false;
      }
      ending = should_end();
      dirty = dirty_->count();
    }
    if (dirty == 0 && ending) {
      CO_TRY_OK(co_await target_.flush());
      if (dirty_->count() == 0) {
        drained_ = true;  // until the job has ended
        co_return ok();
      }
      continue;
    }
    if (is_ready() && !ending) delay = requests_ == 0 && dirty == 0 ? kIdle : Duration{};
    co_await sleep(delay);
  }
}

bool Mirror::overlaps_request(std::uint64_t offset, std::uint64_t bytes) const {
  const std::uint64_t last = (offset + bytes - 1) / granularity_;
  for (std::uint64_t i = offset / granularity_; i <= last; ++i)
    if (requested_[i]) return true;
  return false;
}

// Takes the run of dirty granules that starts at `offset`, as far as the buffer goes and no request
// has them in hand; gives its length.
std::uint64_t Mirror::take_dirty_run(std::uint64_t offset) {
  std::uint64_t end = offset;
  while (end < length_ && end - offset < buf_size_ && dirty_->is_dirty(end) &&
         !requested_[end / granularity_]) {
    requested_[end / granularity_] = true;
    end += granularity_;
  }
  end = std::min(end, length_);
  dirty_->reset(offset, end - offset);
  return end - offset;
}

Mirror::Request Mirror::widened_to_target_clusters(Request request) const {
  if (whole_clusters_.empty() || request.method != Method::copy) return request;
  const std::uint64_t first = request.offset / target_cluster_;
  const std::uint64_t last = (request.offset + request.bytes - 1) / target_cluster_;
  std::uint64_t end = request.offset + request.bytes;
  if (!whole_clusters_[last]) end = std::min((last + 1) * target_cluster_, length_);
  if (!whole_clusters_[first]) request.offset = first * target_cluster_;
  request.bytes = end - request.offset;
  return request;
}

Mirror::Request Mirror::next_request(std::uint64_t offset, std::uint64_t bytes,
                                     const block::Status& status) const {
  std::uint64_t run = std::min(bytes, status.length);
  run -= run % granularity_;
  if (run < granularity_) return {offset, std::min(bytes, granularity_), Method::copy};
  if (!status.zero) return {offset, std::min(run, kRequestBytesMax), Method::copy};
  const std::uint64_t cluster = std::max<std::uint64_t>(target_cluster_, 1);
  // The image's end ends no cluster here: measured on 7.2.
  const bool fits_clusters = offset % cluster == 0 && (offset + run) % cluster == 0;
  if (!fits_clusters) return {offset, std::min(run, kRequestBytesMax), Method::copy};
  return {offset, run, Method::zero};
}

// Starts requests for the next run of dirty granules; gives how long the speed makes us wait.
Task<Duration> Mirror::start_requests() {
  std::optional<std::uint64_t> found = dirty_->next_dirty(cursor_);
  if (!found) found = dirty_->next_dirty(0);
  while (overlaps_request(*found, 1)) co_await wait_for_a_request();
  std::uint64_t offset = *found;
  std::uint64_t left = take_dirty_run(offset);
  cursor_ = offset + left;
  Duration delay{};
  while (left > 0) {
    const auto status = co_await status_of_chain(*settings_.source, offset, left);
    Request request{offset, std::min(left, granularity_), Method::copy};
    if (status) request = next_request(offset, left, *status);
    while (requests_ >= kRequestsMax) co_await wait_for_a_request();
    if (failure_ || is_cancelled()) {  // give back what was not started
      for (std::uint64_t at = offset; at < offset + left; at += granularity_)
        requested_[at / granularity_] = false;
      dirty_->set(offset, left);
      co_return Duration{};
    }
    world().scheduler.spawn(perform(widened_to_target_clusters(request), offset, request.bytes));
    // Zeroes that the target need not store cost no bandwidth.
    const bool free = request.method == Method::zero && settings_.target->discard_unmap;
    delay = delay_after(free ? 0 : request.bytes);
    offset += request.bytes;
    left -= request.bytes;
  }
  co_return delay;
}

Task<Result<>> Mirror::transfer(Request request, bool& reading) {
  if (request.method == Method::zero)
    co_return co_await target_.write_zeroes(request.offset, request.bytes,
                                            {.unmap = settings_.unmap});
  std::vector<std::byte> buffer(request.bytes);
  reading = true;
  CO_TRY_OK(co_await settings_.source->read(request.offset, buffer));
  reading = false;
  co_return co_await target_.write(request.offset, buffer);
}

void Mirror::request_failed(Error error, bool reading) {
  const block::OnError policy = reading ? settings_.on_source_error : settings_.on_target_error;
  if (error_action(policy, reading, error) == block::Action::report && !failure_)
    failure_ = std::move(error);
}

Task<void> Mirror::perform(Request request, std::uint64_t taken_offset, std::uint64_t taken_bytes) {
  ++requests_;
  requested_bytes_ += taken_bytes;
  co_await world().scheduler.yield();  // I/O takes its time: others may come first
  bool reading = false;
  Result<> result = co_await transfer(request, reading);
  if (result) {
    if (!whole_clusters_.empty())
      for (std::uint64_t at = request.offset; at < request.offset + request.bytes;
           at += target_cluster_)
        whole_clusters_[at / target_cluster_] = true;
    advance(taken_bytes);
  } else {
    dirty_->set(taken_offset, taken_bytes);
    request_failed(std::move(result).error(), reading);
  }
  for (std::uint64_t at = taken_offset; at < taken_offset + taken_bytes; at += granularity_)
    requested_[at / granularity_] = false;
  requested_bytes_ -= taken_bytes;
  --requests_;
  request_done_.wake_all();
}

Task<void> Mirror::wait_for_a_request() { co_await request_done_.wait(); }

}  // namespace sim::job
