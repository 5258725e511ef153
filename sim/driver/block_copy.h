// Copies clusters of a node that are not copied yet to another node (QEMU: block-copy.c): what a
// backup job does in the background, and what copy-before-write does before a guest's write.
//
// A cluster is copied once: its bit in the copy bitmap is cleared when a request takes it, and set
// again when the request fails.

#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>

#include "sim/block/node.h"
#include "sim/world/rate_limit.h"

namespace sim::driver {

struct CopyOptions {
  std::uint64_t cluster_size = 64_KiB;
  bool compress = false;
  bool discard_source = false;
};

class BlockCopy {
 public:
  // `bitmap_node` shows the copy bitmap among its own, disabled.
  BlockCopy(block::Node& source, block::Node& target, block::Node& bitmap_node,
            CopyOptions options);
  ~BlockCopy();
  BlockCopy(const BlockCopy&) = delete;
  BlockCopy& operator=(const BlockCopy&) = delete;

  // How large clusters must be for this target: at least 64 KiB, its own, and `at_least`.
  static std::uint64_t cluster_size_for(const block::Node& target, std::uint64_t at_least = 0);

  // A piece of work under way.
  struct Call {
    explicit Call(Scheduler& scheduler) : woken(scheduler) {}
    std::uint64_t offset = 0, bytes = 0;
    unsigned workers = 64;        // requests at once
    std::uint64_t max_chunk = 0;  // bytes of one request; 0: no limit
    bool limited = false;         // keeps to the speed
    std::function<void()> done;   // called once, when it is finished
    bool cancelled = false, finished = false;
    std::optional<Error> failure;
    bool failed_reading = false;
    bool succeeded() const { return finished && !cancelled && !failure; }

   private:
    friend class BlockCopy;
    unsigned in_flight = 0;
    bool asleep = false;
    WaitQueue woken;
  };

  // Copies what is not copied of a range, at once, at any speed, and waits for what others copy.
  Task<Result<>> copy(std::uint64_t offset, std::uint64_t bytes, bool* failed_reading = nullptr);
  // The same in the background.
  std::shared_ptr<Call> start(std::uint64_t offset, std::uint64_t bytes, unsigned workers,
                              std::uint64_t max_chunk, std::function<void()> done);
  // Begins nothing more for it.
  void cancel(Call& call);
  // Out of its sleep for the speed.
  void kick(Call& call);

  // Takes a stretch from `offset` on out of the bitmap if the source's top layer has not got it;
  // gives its length, whole clusters.
  Task<Result<std::uint64_t>> reset_unallocated(std::uint64_t offset);
  // Copy only what the source's top layer has.
  bool skip_unallocated = false;

  block::DirtyBitmap& bitmap() { return *bitmap_; }
  std::uint64_t cluster_size() const { return options_.cluster_size; }
  std::uint64_t in_flight_bytes() const { return in_flight_bytes_; }
  void set_speed(std::uint64_t bytes_per_second) { limit_.set_speed(bytes_per_second); }
  void set_compress(bool compress) { options_.compress = compress; }
  bool compresses() const { return options_.compress; }

  // Told what was copied, and how much is to be copied still.
  std::function<void(std::uint64_t done)> on_done;
  std::function<void(std::uint64_t remaining)> on_remaining;

 private:
  enum class Method : std::uint8_t { copy, zero };
  struct Request {
    std::uint64_t offset, bytes;
    Method method = Method::copy;
    bool allocated = true;
  };
  using Requests = std::list<Request>;

  Task<void> run(std::shared_ptr<Call> call);
  Task<bool> copy_dirty(const std::shared_ptr<Call>& call);
  std::optional<Requests::iterator> take(std::uint64_t offset, std::uint64_t end,
                                         std::uint64_t max_chunk);
  Task<void> look_at(Request& request);
  Task<bool> wait_for_speed(Call& call);
  Task<void> perform(std::shared_ptr<Call> call, Requests::iterator request);
  Task<Result<>> transfer(const Request& request, bool& reading);
  void finish(Requests::iterator request, bool copied);
  Task<bool> wait_for_overlap(std::uint64_t offset, std::uint64_t bytes);
  void tell_remaining();
  World& world() const { return source_->world(); }

  block::NodePtr source_;
  block::NodePtr target_;
  std::weak_ptr<block::Node> bitmap_node_;
  CopyOptions options_;
  std::uint64_t length_;
  std::shared_ptr<block::DirtyBitmap> bitmap_;
  RateLimit limit_;
  Requests requests_;
  std::uint64_t in_flight_bytes_ = 0;
  WaitQueue request_done_;
};

}  // namespace sim::driver
