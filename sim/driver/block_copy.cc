#include "sim/driver/block_copy.h"

#include <algorithm>

#include "sim/base/scratch.h"
#include "sim/block/chain.h"
#include "sim/block/graph.h"

namespace sim::driver {

static constexpr std::uint64_t kRequestMax = 1_MiB;

BlockCopy::BlockCopy(block::Node& source, block::Node& target, block::Node& bitmap_node,
                     CopyOptions options)
    : source_(source.shared_from_this()),
      target_(target.shared_from_this()),
      bitmap_node_(bitmap_node.weak_from_this()),
      options_(options),
      length_(source.size()),
      bitmap_(std::make_shared<block::DirtyBitmap>("", length_, options.cluster_size)),
      request_done_(source.world().scheduler) {
  bitmap_->enabled = false;
  bitmap_->set(0, length_);
  bitmap_node.bitmaps.push_back(bitmap_);
}

BlockCopy::~BlockCopy() {
  if (const block::NodePtr node = bitmap_node_.lock()) std::erase(node->bitmaps, bitmap_);
}

std::uint64_t BlockCopy::cluster_size_for(const block::Node& target, std::uint64_t at_least) {
  return std::max({std::uint64_t{64_KiB}, at_least, target.cluster_size()});
}

// --- calls ---------------------------------------------------------------------------------------

std::shared_ptr<BlockCopy::Call> BlockCopy::start(std::uint64_t offset, std::uint64_t bytes,
                                                  unsigned workers, std::uint64_t max_chunk,
                                                  std::function<void()> done) {
  auto call = std::make_shared<Call>(world().scheduler);
  call->offset = offset;
  call->bytes = bytes;
  call->workers = workers;
  call->max_chunk = max_chunk;
  call->limited = true;
  call->done = std::move(done);
  world().scheduler.spawn(run(call));
  return call;
}

Task<Result<>> BlockCopy::copy(std::uint64_t offset, std::uint64_t bytes, bool* failed_reading) {
  auto call = std::make_shared<Call>(world().scheduler);
  call->offset = offset;
  call->bytes = bytes;
  co_await run(call);
  if (failed_reading != nullptr) *failed_reading = call->failed_reading;
  if (call->failure) co_return *call->failure;
  co_return ok();
}

void BlockCopy::cancel(Call& call) {
  call.cancelled = true;
  kick(call);
}

void BlockCopy::kick(Call& call) {
  if (call.asleep) call.woken.wake_all();
}

Task<void> BlockCopy::run(std::shared_ptr<Call> call) {
  while (!call->cancelled) {
    const bool found = co_await copy_dirty(call);
    if (call->failure || call->cancelled) break;
    if (found || co_await wait_for_overlap(call->offset, call->bytes)) continue;
    const auto dirty = bitmap_->next_dirty(call->offset);
    if (!dirty || *dirty >= call->offset + call->bytes) break;
  }
  call->finished = true;
  if (call->done) call->done();
}

// One pass over the range; true if something was found to be copied.
Task<bool> BlockCopy::copy_dirty(const std::shared_ptr<Call>& call) {
  const std::uint64_t end = call->offset + call->bytes;
  bool found = false;
  for (std::uint64_t offset = call->offset; offset < end && !call->failure && !call->cancelled;) {
    const auto request = take(offset, end, call->max_chunk);
    if (!request) break;
    found = true;
    co_await look_at(**request);
    if (!(*request)->allocated) {
      offset = (*request)->offset + (*request)->bytes;
      finish(*request, true);
      tell_remaining();
      continue;
    }
    if (call->limited && limit_.delay_after(world().scheduler.now(), 0) > Duration{}) {
      finish(*request, false);
      co_await wait_for_speed(*call);
      continue;
    }
    (void)limit_.delay_after(world().scheduler.now(), (*request)->bytes);
    offset = (*request)->offset + (*request)->bytes;
    while (call->in_flight >= call->workers) co_await request_done_.wait();
    if (call->failure) {
      finish(*request, false);
      break;
    }
    ++call->in_flight;
    if (offset >= end && call->in_flight == 1)
      co_await perform(call, *request);
    else
      world().scheduler.spawn(perform(call, *request));
  }
  while (call->in_flight > 0) co_await request_done_.wait();
  co_return found;
}

Task<bool> BlockCopy::wait_for_speed(Call& call) {
  const Duration delay = limit_.delay_after(world().scheduler.now(), 0);
  call.asleep = true;
  const auto timer = world().scheduler.after(delay, [&call] { call.woken.wake_all(); });
  co_await call.woken.wait();
  call.asleep = false;
  world().scheduler.cancel(timer);
  co_return true;
}

// --- requests ------------------------------------------------------------------------------------

std::optional<BlockCopy::Requests::iterator> BlockCopy::take(std::uint64_t offset,
                                                             std::uint64_t end,
                                                             std::uint64_t max_chunk) {
  const std::uint64_t cluster = options_.cluster_size;
  const auto first = bitmap_->next_dirty(offset);
  if (!first || *first >= end) return std::nullopt;
  std::uint64_t most = options_.compress ? cluster : std::max(cluster, kRequestMax);
  if (max_chunk != 0) most = std::min(most, align_down(max_chunk, cluster));
  const std::uint64_t clean = bitmap_->next_clean(*first).value_or(align_up(length_, cluster));
  const std::uint64_t bytes = align_up(std::min({clean, end, *first + most}) - *first, cluster);
  bitmap_->reset(*first, bytes);
  in_flight_bytes_ += bytes;
  return requests_.insert(requests_.end(), {*first, bytes});
}

// Shortens the request to what is of one kind.
Task<void> BlockCopy::look_at(Request& request) {
  const std::uint64_t cluster = options_.cluster_size;
  const std::uint64_t wanted = std::min(request.bytes, length_ - request.offset);
  const auto status = skip_unallocated
                          ? co_await block::skip_filters(*source_).status(request.offset, wanted)
                          : co_await block::status_of_chain(*source_, request.offset, wanted);
  std::uint64_t bytes = cluster;
  const std::uint64_t least =
      source_->graph().profile().short_copy_is_data ? cluster : std::min(cluster, wanted);
  if (status && status->length >= least) {
    const bool is_end = request.offset + status->length == length_;
    bytes = is_end ? align_up(status->length, cluster) : align_down(status->length, cluster);
    if (skip_unallocated) request.allocated = status->allocated;
    if (status->zero && (status->allocated || !skip_unallocated)) request.method = Method::zero;
  }
  if (bytes >= request.bytes) co_return;
  bitmap_->set(request.offset + bytes, request.bytes - bytes);
  in_flight_bytes_ -= request.bytes - bytes;
  request.bytes = bytes;
  request_done_.wake_all();
}

Task<Result<>> BlockCopy::transfer(const Request& request, bool& reading) {
  const std::uint64_t bytes = std::min(request.bytes, length_ - request.offset);
  if (request.method == Method::zero)
    co_return co_await target_->write_zeroes(request.offset, bytes, {.unmap = false});
  Scratch buffer(bytes);
  reading = true;
  CO_TRY_OK(co_await source_->read(request.offset, buffer));
  reading = false;
  if (options_.compress) co_return co_await target_->write_compressed(request.offset, buffer);
  co_return co_await target_->write(request.offset, buffer);
}

Task<void> BlockCopy::perform(std::shared_ptr<Call> call, Requests::iterator request) {
  co_await world().scheduler.yield();  // I/O takes its time: others may come first
  bool reading = false;
  Result<> result = co_await transfer(*request, reading);
  if (result && options_.discard_source)
    (void)co_await source_->discard(request->offset,
                                    std::min(request->bytes, length_ - request->offset));
  const std::uint64_t bytes = request->bytes;
  const bool copied = static_cast<bool>(result);
  if (!copied && !call->failure) {
    call->failure = std::move(result).error();
    call->failed_reading = reading;
  }
  if (copied && on_done) on_done(bytes);
  --call->in_flight;
  finish(request, copied);
  tell_remaining();
}

void BlockCopy::finish(Requests::iterator request, bool copied) {
  in_flight_bytes_ -= request->bytes;
  if (!copied) bitmap_->set(request->offset, request->bytes);
  requests_.erase(request);
  request_done_.wake_all();
}

Task<bool> BlockCopy::wait_for_overlap(std::uint64_t offset, std::uint64_t bytes) {
  const bool overlaps = std::ranges::any_of(requests_, [&](const Request& request) {
    return request.offset < offset + bytes && offset < request.offset + request.bytes;
  });
  if (overlaps) co_await request_done_.wait();
  co_return overlaps;
}

void BlockCopy::tell_remaining() {
  if (on_remaining)
    on_remaining(align_up(bitmap_->count(), options_.cluster_size) + in_flight_bytes_);
}

Task<Result<std::uint64_t>> BlockCopy::reset_unallocated(std::uint64_t offset) {
  const std::uint64_t cluster = options_.cluster_size;
  std::uint64_t total = 0;
  for (;;) {
    const std::uint64_t at = offset + total;
    CO_TRY(const block::Status status,
           co_await block::skip_filters(*source_).status(at, length_ - at));
    total += status.length;
    if (status.allocated) co_return align_up(total, cluster);
    const bool is_end = offset + total >= length_;
    if (!is_end && total < cluster) continue;
    const std::uint64_t bytes = is_end ? align_up(total, cluster) : align_down(total, cluster);
    bitmap_->reset(offset, bytes);
    tell_remaining();
    co_return bytes;
  }
}

}  // namespace sim::driver
