#include "sim/job/mirror.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/base/scratch.h"
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

Result<> Mirror::check_granularity(const Profile& profile, const MirrorSettings& settings) {
  if (settings.granularity != 0) {
    if (settings.granularity < 512 || settings.granularity > 64_MiB)
      return generic("Parameter 'granularity' expects a value in range [512B, 64MB]");
    if (!is_power_of_two(settings.granularity))
      return generic(profile.power_of_two_has_article
                         ? "Parameter 'granularity' expects a power of 2"
                         : "Parameter 'granularity' expects power of 2");
  }
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

// The job is kept while it is told of a change.
class MirrorTop::Copied {
 public:
  explicit Copied(MirrorTop& top) : top_(top) {
    if (top.job != nullptr && top.job->copies_at_once())
      job_ = std::static_pointer_cast<Mirror>(top.job->shared_from_this());
  }
  Task<void> begin(std::uint64_t offset, std::uint64_t bytes) {
    if (job_) co_await job_->begin_guest_change(offset, bytes);
  }
  Task<void> end(bool succeeded, Mirror::GuestChange change) {
    if (job_) {
      if (succeeded) co_await job_->copy_guest_change(change);
      job_->end_guest_change(change.offset, change.bytes);
      co_return;
    }
    if (!top_.dirty) co_return;
    if (top_.job != nullptr) top_.job->guest_change_was_not_copied();
    top_.dirty->set(change.offset, change.bytes);
  }

 private:
  MirrorTop& top_;
  std::shared_ptr<Mirror> job_;
};

Task<Result<>> MirrorTop::do_write(std::uint64_t offset, Bytes from) {
  Copied copied(*this);
  co_await copied.begin(offset, from.size());
  Result<> done = co_await FilterNode::do_write(offset, from);
  co_await copied.end(static_cast<bool>(done),
                      {Mirror::Change::write, offset, from.size(), from, {}});
  co_return done;
}

Task<Result<>> MirrorTop::do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                          block::ZeroFlags flags) {
  Copied copied(*this);
  co_await copied.begin(offset, length);
  Result<> done = co_await FilterNode::do_write_zeroes(offset, length, flags);
  co_await copied.end(static_cast<bool>(done), {Mirror::Change::zero, offset, length, {}, flags});
  co_return done;
}

Task<Result<>> MirrorTop::do_discard(std::uint64_t offset, std::uint64_t length) {
  Copied copied(*this);
  co_await copied.begin(offset, length);
  Result<> done = co_await FilterNode::do_discard(offset, length);
  co_await copied.end(static_cast<bool>(done), {Mirror::Change::discard, offset, length, {}, {}});
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
  auto name = choose_filter_name(settings_.filter_node_name);
  if (!name) never_be();
  TRY_OK(name);
  filter_ = std::make_shared<MirrorTop>(graph(), *std::move(name), "mirror_top");
  filter_->implicit = !settings_.filter_node_name;
  filter_->is_commit = settings_.is_commit;
  // Left at discard_unmap = false: guest discards are dropped while the job exists (measured, 7.2).
  if (Result<> above =
          graph().insert_above(filter_, source, "backing", block::kFiltered | block::kPrimary);
      !above) {
    never_be();
    return above;
  }
  graph().add(filter_);
  if (Result<> usable = check_id(); !usable) {
    never_be();
    return usable;
  }
  constexpr block::Permissions kOthers =
      block::kConsistentRead | block::kWriteUnchanged | block::kWrite;
  if (settings_.is_commit) {
    block::Permission wanted = target_.permission();
    wanted.shared |= block::kConsistentRead | block::kWrite;
    if (settings_.target->size() < source->size()) wanted.needed |= block::kResize;
    TRY_OK(target_.set_permission(wanted));
  }
  Result<> taken = hold_main(filter_, {block::kConsistentRead, kOthers});
  if (taken && settings_.speed_is_negative)
    return generic("Parameter 'speed' expects a non-negative value");
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
    dirty_->enabled = !settings_.write_blocking;
  }
  requested_.assign(div_up(source->size(), granularity_), false);
  filter_->job = this;
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
    filter_->job = nullptr;
    drop_filter();
  }
  if (to_replace_) to_replace_->unblock(replace_reason_);
  to_replace_.reset();
  if (dirty_) std::erase(settings_.source->bitmaps, dirty_);
  release_guest();
  if (target_was_read_only_ && !success && (profile().commit_restores_base || !ran_))
    world().scheduler.spawn(make_read_only(graph(), settings_.target));
  filter_.reset();
  settings_.source.reset();
  settings_.target.reset();
  graph().collect_soon();
}

// On 5.2 it stays, above the node it was dropped from, until the job is dismissed.
void Mirror::drop_filter() {
  const block::NodePtr below =
      filter_->filtered() == nullptr ? nullptr : filter_->filtered()->shared_from_this();
  if (!below) return;
  CHECK(graph().drop_filter(filter_), "a filter that needs nothing can go");
  if (!profile().mirror_filter_outlives_job) return;
  CHECK(graph().attach(*filter_, below, "backing", block::kFiltered | block::kPrimary),
        "it needs nothing");
  keep_until_dismissed(filter_);
}

void Mirror::describe(Json& info) const {
  BlockJob::describe(info);
  if (profile().mirror_tells_actively_synced && !settings_.is_commit)
    info["actively-synced"] = actively_synced_;
}

bool Mirror::refuses(Verb verb) const {
  return verb == Verb::complete && !profile().standby_can_complete && status() == Status::standby;
}

Result<> Mirror::do_change(const std::string& copy_mode) {
  if (settings_.is_commit) return Job::do_change(copy_mode);
  if (settings_.write_blocking == (copy_mode == "write-blocking")) return ok();
  if (copy_mode != "write-blocking")  // QEMU's words
    return generic(fmt::format("Change to copy mode '{}' is not implemented", copy_mode));
  settings_.write_blocking = true;
  return ok();
}

Result<> Mirror::do_complete() {
  if (!is_ready()) return Job::do_complete();
  if (settings_.replaces && !to_replace_) {
    to_replace_ = graph().find(*settings_.replaces);
    if (!to_replace_) return generic(fmt::format("Node name '{}' not found", *settings_.replaces));
    replace_reason_ =
        std::make_shared<const std::string>("block device is in use by block-job-complete");
    to_replace_->block(block::Ops::all(), replace_reason_);
  }
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
  filter_->job = nullptr;
  CO_TRY_OK(graph().refresh({filter_.get()}));
  CO_TRY_OK(co_await settle_backing());
  const NodePtr replaced = to_replace_ ? to_replace_ : settings_.source;
  if (replaced->read_only != settings_.target->read_only && !settings_.is_commit)
    (void)co_await graph().set_read_only(settings_.target, replaced->read_only);
  co_return pivot();
}

// True if replacing `wanted` cannot change what is seen at `node`: filters lie between at most.
static bool can_replace(const block::Node& node, const block::Node& wanted) {
  const block::Node* at = &node;
  while (at != nullptr && at != &wanted) at = at->is_filter() ? at->filtered() : nullptr;
  return at != nullptr;
}

Result<> Mirror::check_replaced(const block::Graph& graph, const MirrorSettings& settings) {
  if (!settings.replaces) return ok();
  const NodePtr replaced = graph.find(*settings.replaces);
  if (!replaced)
    return generic(graph.profile().lookup_quotes_names
                       ? fmt::format("Failed to find node with node-name='{}'", *settings.replaces)
                       : fmt::format("Node name '{}' not found", *settings.replaces));
  TRY_OK(replaced->check_allowed(block::Op::replace));
  if (!can_replace(*settings.source, *replaced))
    return generic(fmt::format(
        "Cannot replace '{}' by a node mirrored from '{}', because it cannot be guaranteed that "
        "doing so would not lead to an abrupt change of visible data",
        *settings.replaces, settings.source->name()));
  if (replaced->size() != settings.source->size())
    return generic("cannot replace image with a mirror image of different size");
  return ok();
}

Result<> Mirror::pivot() {
  if (!to_replace_) return graph().replace(settings_.source, settings_.target);
  if (!can_replace(*settings_.source, *to_replace_)) return os_error(EPERM);
  to_replace_->unblock(replace_reason_);
  return graph().replace(to_replace_, settings_.target);
}

Task<Result<>> Mirror::settle_backing() {
  if (settings_.is_commit || settings_.backing == MirrorBacking::leave) co_return ok();
  block::Node& target = block::skip_filters(*settings_.target);
  if (settings_.backing == MirrorBacking::as_in_header) {
    if (target.backing() != nullptr || !open_backing) co_return ok();
    co_return co_await open_backing(target);
  }
  block::Node* wanted = settings_.sync == MirrorSync::none  ? settings_.source.get()
                        : settings_.sync == MirrorSync::top ? block::next_layer(*settings_.source)
                                                            : nullptr;
  if (block::next_layer(target) == wanted || !target.supports_backing()) co_return ok();
  co_return graph().set_backing(target, wanted == nullptr ? nullptr : wanted->shared_from_this());
}

Task<Result<>> Mirror::run() {
  ran_ = true;
  length_ = settings_.source->size();
  if (settings_.is_commit && length_ > settings_.target->size())
    CO_TRY_OK(co_await settings_.target->truncate({.size = length_}));
  if (!settings_.is_commit && length_ != settings_.target->size())
    co_return Error{ErrorClass::generic, "Source and target image have different sizes", EINVAL};
  if (length_ == 0) co_return co_await wait_for_end_of_empty_disk();
  find_out_about_target();
  Result<> result = ok();
  if (settings_.sync != MirrorSync::none) result = co_await find_dirty();
  walk_.emplace(*dirty_);
  if (result && !is_cancelled()) result = co_await synchronise();
  while (requests_ > 0 || guest_changes_ > 0) co_await wait_for_a_request();
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

// Whether all of a chain is known to read as zeroes.
Task<Result<bool>> Mirror::is_all_zero(block::Node& node) const {
  const std::uint64_t length = node.size();
  for (std::uint64_t offset = 0; offset < length;) {
    CO_TRY(const block::Status status,
           co_await block::status_of_chain(node, offset, length - offset));
    if (!status.zero) co_return false;
    offset += status.length;
  }
  co_return true;
}

Task<Result<>> Mirror::zero_whole_target() {
  co_await world().scheduler.yield();
  if (is_cancelled()) co_return ok();
  CO_TRY_OK(co_await target_.write_zeroes(0, length_, {.unmap = settings_.unmap}));
  set_zero(0, length_, true);
  co_return ok();
}

// The target's space is to be given back wherever zeroes are written: it gets all of them (11.1).
bool Mirror::punches_holes() const {
  return profile().mirror_looks_at_target && settings_.target->discard_unmap &&
         settings_.target->detect_zeroes == block::DetectZeroes::unmap;
}

// What is to be copied.  `full`: all that some layer has, if what the target has beside it is
// zeroed first or is zero; else everything.  `top`: what the top layer has.
Task<Result<>> Mirror::find_dirty() {
  const bool full = settings_.sync == MirrorSync::full && !settings_.is_commit;
  bool target_is_zero = !settings_.zero_target;
  if (profile().mirror_looks_at_target) {
    target_is_zero = settings_.target_is_zero;
    if (!target_is_zero) {
      CO_TRY(target_is_zero, co_await is_all_zero(*settings_.target));
    }
    target_is_zero = target_is_zero && !punches_holes();
    zero_.assign(div_up(length_, granularity_), target_is_zero);
  }
  if (full && !target_is_zero && (!settings_.target->discard_unmap || punches_holes())) {
    dirty_->set(0, length_);
    co_return ok();
  }
  if (full && !target_is_zero) CO_TRY_OK(co_await zero_whole_target());
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

bool Mirror::is_zero_already(std::uint64_t offset, std::uint64_t bytes) const {
  if (zero_.empty()) return false;
  const std::uint64_t end = div_up(offset + bytes, granularity_);
  for (std::uint64_t i = offset / granularity_; i < end; ++i)
    if (!zero_[i]) return false;
  return true;
}

void Mirror::set_zero(std::uint64_t offset, std::uint64_t bytes, bool zero) {
  if (zero_.empty()) return;
  const std::uint64_t end = div_up(offset + bytes, granularity_);
  for (std::uint64_t i = offset / granularity_; i < end; ++i) zero_[i] = zero;
}

// --- copying as the guest writes -----------------------------------------------------------------

void Mirror::set_requested(std::uint64_t offset, std::uint64_t bytes, bool requested) {
  for (std::uint64_t i = offset / granularity_; i * granularity_ < offset + bytes; ++i)
    requested_[i] = requested;
}

Task<void> Mirror::begin_guest_change(std::uint64_t offset, std::uint64_t bytes) {
  while (overlaps_request(offset, bytes)) co_await wait_for_a_request();
  set_requested(offset, bytes, true);
  ++guest_changes_;
}

void Mirror::end_guest_change(std::uint64_t offset, std::uint64_t bytes) {
  --guest_changes_;
  set_requested(offset, bytes, false);
  request_done_.wake_all();
}

// Granules at the edges that are dirty are left to the job: the rest of them is to be copied, too.
void Mirror::take_part(GuestChange& change) const {
  const auto shorten = [&](std::uint64_t front, std::uint64_t back) {
    const std::uint64_t cut = std::min(change.bytes, front + back);
    if (!change.from.empty())
      change.from =
          change.from.subspan(std::min<std::uint64_t>(front, change.bytes), change.bytes - cut);
    change.offset += front;
    change.bytes -= cut;
  };
  const std::uint64_t before = change.offset % granularity_;
  if (before != 0 && dirty_->is_dirty(change.offset)) shorten(granularity_ - before, 0);
  if (change.bytes == 0) return;
  const std::uint64_t after = (change.offset + change.bytes) % granularity_;
  if (after != 0 && dirty_->is_dirty(change.offset + change.bytes - 1)) shorten(0, after);
}

Task<Result<>> Mirror::send(const GuestChange& change) {
  if (change.kind == Change::write) co_return co_await target_.write(change.offset, change.from);
  if (change.kind == Change::zero && is_zero_already(change.offset, change.bytes)) co_return ok();
  if (change.kind == Change::zero)
    co_return co_await target_.write_zeroes(change.offset, change.bytes, change.flags);
  co_return co_await target_.discard(change.offset, change.bytes);
}

Task<void> Mirror::copy_guest_change(GuestChange change) {
  take_part(change);
  if (change.bytes == 0) co_return;
  const std::uint64_t from = align_up(change.offset, granularity_);
  const std::uint64_t to = align_down(change.offset + change.bytes, granularity_);
  if (from < to) dirty_->reset(from, to - from);
  if (change.kind != Change::zero) set_zero(change.offset, change.bytes, false);
  set_total(progress().total - progress().current + change.bytes);
  guest_bytes_ += change.bytes;
  Result<> done = co_await send(change);
  guest_bytes_ -= change.bytes;
  if (done) {
    advance(change.bytes);
    co_return;
  }
  dirty_->set(change.offset, change.bytes);
  actively_synced_ = false;
  request_failed(std::move(done).error(), false);
}

// --- the copying ---------------------------------------------------------------------------------

Task<Result<>> Mirror::synchronise() {
  for (;;) {
    if (failure_) co_return *failure_;
    co_await pause_point();
    if (is_cancelled()) co_return ok();
    // Whole granules, though the last may be cut short.
    std::uint64_t dirty = align_up(dirty_->count(), granularity_);
    set_total(requested_bytes_ + guest_bytes_ + dirty);
    if (requests_ >= kRequestsMax || (dirty == 0 && requests_ > 0)) {
      co_await wait_for_a_request();
      continue;
    }
    Duration delay{};
    if (dirty != 0) delay = co_await start_requests();
    bool ending = false;
    if (requests_ == 0 && dirty == 0) {
      if (!is_ready()) {
        if (!co_await flush_target()) continue;  // and see what became of it
        become_ready();
        actively_synced_ = settings_.write_blocking;
        if (canary_ == MirrorCanary::forgets_writes_after_ready) dirty_->enabled = false;
      }
      ending = should_end();
      dirty = dirty_->count();
    }
    if (dirty == 0 && ending) {
      if (!co_await flush_target()) continue;
      if (dirty_->count() == 0 && co_await hold_guest()) co_return ok();
      continue;
    }
    if (is_ready() && !ending)
      co_await sleep(requests_ == 0 && dirty == 0 ? kIdle : Duration{});
    else
      co_await keep_to_speed(delay);
  }
}

// From here on to the job's end the guest's requests wait, as nothing may change any more.  A job
// that ends by itself does so before anybody could tell.
Task<bool> Mirror::hold_guest() {
  drained_ = true;
  if (settings().auto_finalize) co_return true;
  co_await graph().drain_begin(settings_.source);
  holds_guest_ = true;
  if (dirty_->count() == 0) co_return true;
  release_guest();
  co_return false;
}

void Mirror::release_guest() {
  drained_ = false;
  if (std::exchange(holds_guest_, false)) graph().drain_end(*settings_.source);
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
    if (end != offset) walk_->pass(end);
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
  if (status.allocated && !status.zero)
    return {offset, std::min(run, kRequestBytesMax), Method::copy};
  const std::uint64_t cluster = std::max<std::uint64_t>(target_cluster_, 1);
  // The image's end ends no cluster here: measured on 7.2.
  const bool fits_clusters = offset % cluster == 0 && (offset + run) % cluster == 0;
  if (!fits_clusters) return {offset, std::min(run, kRequestBytesMax), Method::copy};
  return {offset, run, status.zero ? Method::zero : Method::discard};
}

// Starts requests for the next run of dirty granules; gives how long the speed makes us wait.
Task<Duration> Mirror::start_requests() {
  std::optional<std::uint64_t> found = walk_->next();
  if (!found) {
    walk_->start(0);
    found = walk_->next();
  }
  while (overlaps_request(*found, 1)) co_await wait_for_a_request();
  std::uint64_t offset = *found;
  std::uint64_t left = take_dirty_run(offset);
  Duration delay{};
  while (left > 0) {
    const auto status = co_await status_of_chain(*settings_.source, offset, left);
    Request request{offset, std::min(left, granularity_), Method::copy};
    if (status) request = next_request(offset, left, *status);
    while (requests_ >= kRequestsMax) co_await wait_for_a_request();
    if (failure_ || is_cancelled()) {  // give back what was not started
      set_requested(offset, left, false);
      dirty_->set(offset, left);
      co_return Duration{};
    }
    const Request widened = widened_to_target_clusters(request);
    // All releases (measured; scenarios/bugs/mirror-small-buffer).
    if (widened.bytes > buf_size_) graph().crash = "a mirror's request is wider than its buffer";
    world().scheduler.spawn(perform(widened, offset, request.bytes));
    // Zeroes that the target need not store cost no bandwidth.
    const bool free =
        request.method == Method::zero &&
        (settings_.target->discard_unmap || is_zero_already(request.offset, request.bytes));
    delay = delay_after(free ? 0 : request.bytes);
    offset += request.bytes;
    left -= request.bytes;
  }
  co_return delay;
}

Task<Result<>> Mirror::transfer(Request request, bool& reading) {
  if (request.method == Method::zero) {
    if (is_zero_already(request.offset, request.bytes)) co_return ok();
    set_zero(request.offset, request.bytes, true);
    co_return co_await target_.write_zeroes(request.offset, request.bytes,
                                            {.unmap = settings_.unmap});
  }
  set_zero(request.offset, request.bytes, false);
  if (request.method == Method::discard)
    co_return co_await target_.discard(request.offset, request.bytes);
  Scratch buffer(request.bytes);
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

Task<bool> Mirror::flush_target() {
  Result<> done = co_await target_.flush();
  if (done) co_return true;
  request_failed(std::move(done).error(), false);
  co_await world().scheduler.yield();  // it may be tried for ever
  co_return false;
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
  set_requested(taken_offset, taken_bytes, false);
  requested_bytes_ -= taken_bytes;
  --requests_;
  request_done_.wake_all();
}

Task<void> Mirror::wait_for_a_request() { co_await request_done_.wait(); }

}  // namespace sim::job
