#include "sim/job/backup.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/block/chain.h"
#include "sim/block/successor.h"

namespace sim::job {

static Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

Backup::Backup(block::Graph& graph, BackupSettings settings)
    : BlockJob(graph, "backup", settings.job),
      settings_(std::move(settings)),
      call_ended_(graph.world().scheduler) {
  preset_speed(settings_.speed);
}

Result<> Backup::take_source() {
  const block::NodePtr& source = settings_.source;
  if (settings_.bitmap) {
    if (settings_.bitmap_mode != BitmapMode::never)
      TRY_OK(settings_.bitmap->check(block::DirtyBitmap::Check::changeable));
    block::create_successor(*source, settings_.bitmap);
    holds_bitmap_ = true;
  }
  const auto appended = [&]() -> Result<> {
    if (source->size() != settings_.target->size())
      return generic("Source and target image have different sizes");
    if (auto name = choose_filter_name(settings_.filter_node_name);
        !name && settings_.filter_node_name->empty())
      return generic((profile().has_copy_before_write ? "Could not create node: " : "") +
                     name.error().desc);
    TRY(filter_, driver::append_cbw(graph(), source, settings_.target,
                                    settings_.filter_node_name.value_or(""), settings_.cbw));
    const std::uint64_t cluster = copy().cluster_size();
    if (settings_.max_chunk != 0 && settings_.max_chunk < cluster)
      return generic(fmt::format("Required max-chunk ({}) is less than backup cluster size ({})",
                                 settings_.max_chunk, cluster));
    return ok();
  };
  Result<> done = appended();
  if (!done) refuse();
  return done;
}

void Backup::refuse() {
  never_be();
  clean(false);
}

Result<> Backup::take_nodes() {
  TRY_OK(hold_main(filter_, {0, block::kAllPermissions}));
  TRY_OK(hold("target", settings_.target, {0, block::kAllPermissions}));
  copy().set_compress(settings_.compress);
  if (!profile().backup_copies_by_cluster) copy().set_speed(settings_.speed);
  copy().on_done = [this](std::uint64_t bytes) {
    advance(bytes);
    done_since_ += bytes;
  };
  copy().on_remaining = [this](std::uint64_t bytes) { set_total(bytes); };
  return ok();
}

Task<Result<>> Backup::run() {
  choose_what_to_copy();
  if (settings_.sync == BackupSync::top) CO_TRY_OK(co_await skip_unallocated());
  if (settings_.sync == BackupSync::none) {  // only what the guest overwrites
    while (!is_cancelled()) co_await idle();
    co_return ok();
  }
  if (profile().backup_copies_by_cluster) co_return co_await copy_by_cluster();
  co_return co_await copy_in_background();
}

void Backup::choose_what_to_copy() {
  if (settings_.sync == BackupSync::bitmap) {
    copy().bitmap().clear();
    copy().bitmap().merge(*settings_.bitmap);
  }
  copy().skip_unallocated = settings_.sync == BackupSync::top;
  set_total(align_up(copy().bitmap().count(), copy().cluster_size()));
}

Task<bool> Backup::ends_after_yield() {
  if (is_cancelled()) co_return true;
  const Duration delay =
      profile().backup_copies_by_cluster ? delay_after(std::exchange(done_since_, 0)) : Duration{};
  co_await sleep(delay);
  co_return is_cancelled();
}

Task<Result<>> Backup::skip_unallocated() {
  const std::uint64_t length = settings_.source->size();
  for (std::uint64_t offset = 0; offset < length;) {
    if (co_await ends_after_yield()) co_return os_error(ECANCELED);
    CO_TRY(const std::uint64_t bytes, co_await copy().reset_unallocated(offset));
    offset += bytes;
  }
  copy().skip_unallocated = false;
  co_return ok();
}

bool Backup::is_reported(const Error& error, bool reading) {
  const block::OnError policy = reading ? settings_.on_source_error : settings_.on_target_error;
  return error_action(policy, reading, error) == block::Action::report;
}

Task<Result<>> Backup::copy_in_background() {
  const std::uint64_t length = align_up(settings_.source->size(), copy().cluster_size());
  for (;;) {
    call_ = copy().start(0, length, settings_.workers, settings_.max_chunk, [this] {
      if (awaits_call_)
        call_ended_.wake_all();
      else
        enter();
    });
    while (!call_->finished && !is_cancelled()) co_await idle();
    co_await stop_call();
    const auto call = std::exchange(call_, nullptr);
    if (is_cancelled() || call->succeeded()) co_return ok();
    if (call->cancelled) continue;  // the job was paused, and goes on
    if (is_reported(*call->failure, call->failed_reading)) co_return *call->failure;
    co_await pause_point();
  }
}

Task<void> Backup::about_to_pause() { return stop_call(); }

// What the call has begun ends first.
Task<void> Backup::stop_call() {
  if (!call_ || call_->finished) co_return;
  copy().cancel(*call_);
  awaits_call_ = true;
  while (!call_->finished) co_await call_ended_.wait();
  awaits_call_ = false;
}

bool Backup::speed_changed() {
  if (profile().backup_copies_by_cluster || !filter_) return true;
  copy().set_speed(speed());
  if (call_) copy().kick(*call_);
  return true;
}

Task<Result<>> Backup::copy_by_cluster() {
  const std::uint64_t cluster = copy().cluster_size();
  std::uint64_t from = 0;
  for (;;) {
    const auto offset = copy().bitmap().next_dirty(from);
    if (!offset) co_return ok();
    for (;;) {
      if (co_await ends_after_yield()) co_return ok();
      bool reading = false;
      Result<> done = co_await copy().copy(*offset, cluster, &reading);
      if (done) break;
      if (is_reported(done.error(), reading)) co_return done;
    }
    from = *offset + cluster;
  }
}

// --- the end -------------------------------------------------------------------------------------

// One of the two records from here on; the other is gone.
void Backup::settle_bitmap(bool success) {
  if (!std::exchange(holds_bitmap_, false)) return;
  block::Node& node = *settings_.source;
  std::shared_ptr<block::DirtyBitmap> kept = settings_.bitmap;
  const bool always = settings_.bitmap_mode == BitmapMode::always;
  if ((success || always) && settings_.bitmap_mode != BitmapMode::never)
    kept = block::abdicate(node, settings_.bitmap);
  else
    block::reclaim(node, *settings_.bitmap);
  if (!success && always && filter_) kept->merge(copy().bitmap());
  settings_.bitmap.reset();
}

void Backup::clean(bool success) {
  if (!settings_.source) return;  // done before
  settle_bitmap(success);
  release_nodes();
  if (filter_) {
    copy().on_done = nullptr;
    copy().on_remaining = nullptr;
    filter_->end();
    CHECK(graph().drop_filter(filter_), "a filter without needs can go");
  }
  filter_.reset();
  settings_.source.reset();
  settings_.target.reset();
  graph().collect_soon();
}

}  // namespace sim::job
