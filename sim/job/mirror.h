// mirror: copies a node to another while the guest writes, and keeps the two the same until it is
// cancelled (the copy stays as it is) or completed (the guest moves over: pivot).
//
// Source of the rules: QAPI's blockdev-mirror, and QEMU 7.2 as measured; each is tested in
// mirror_test.cc or by the block-copy matrix against the real thing.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/block/graph.h"
#include "sim/job/job.h"

namespace sim::job {

enum class MirrorSync : std::uint8_t { full, top, none };
enum class OnError : std::uint8_t { report, ignore };

struct MirrorSettings {
  Settings job;
  block::NodePtr source;
  block::NodePtr target;
  MirrorSync sync = MirrorSync::full;
  std::uint64_t granularity = 0;  // bytes, a power of two in [512, 64 MiB]; 0: the default
  std::uint64_t buf_size = 0;     // bytes; 0: 16 MiB
  std::uint64_t speed = 0;        // bytes per second; 0: no limit
  OnError on_source_error = OnError::report;
  OnError on_target_error = OnError::report;
};

// For tests: a mirror that is wrong on purpose, so that a harness can be seen to catch it.
enum class MirrorCanary : std::uint8_t { none, forgets_writes_after_ready };

class Mirror final : public Job {
 public:
  // Refuses what QEMU refuses before it looks at the job's id.
  static Result<> check(const MirrorSettings& settings);
  // Checks that the nodes are free, puts the filter node above the source, and takes both nodes for
  // itself.
  static Result<std::shared_ptr<Mirror>> make(block::Graph& graph, MirrorSettings settings,
                                              MirrorCanary canary = MirrorCanary::none);
  Mirror(block::Graph& graph, MirrorSettings settings, MirrorCanary canary);

  bool is_block_job() const override { return true; }
  bool is_drained() const override { return drained_; }

 protected:
  Task<Result<>> run() override;
  Result<> prepare() override;
  void clean(bool success) override;
  Result<> do_complete() override;
  bool is_forced(bool force) const override { return force || !is_ready(); }

 private:
  enum class Method : std::uint8_t { copy, zero };
  struct Request {
    std::uint64_t offset;
    std::uint64_t bytes;
    Method method;
  };

  void insert_filter();
  void find_out_about_target();
  Task<Result<>> find_dirty();
  Task<Result<>> wait_for_end_of_empty_disk();
  Task<Result<>> synchronise();
  Task<Duration> start_requests();
  std::uint64_t take_dirty_run(std::uint64_t offset);
  Request next_request(std::uint64_t offset, std::uint64_t bytes,
                       const block::Status& status) const;
  Request widened_to_target_clusters(Request request) const;
  Task<void> perform(Request request, std::uint64_t taken_offset, std::uint64_t taken_bytes);
  Task<Result<>> transfer(Request request, OnError& policy);
  Task<void> wait_for_a_request();
  bool overlaps_request(std::uint64_t offset, std::uint64_t bytes) const;
  bool should_end() const { return should_complete_ || cancel_requested(); }

  block::Graph& graph_;
  MirrorSettings settings_;
  MirrorCanary canary_;
  std::shared_ptr<block::DirtyBitmap> dirty_;
  block::NodePtr filter_;
  block::EdgePtr target_edge_;
  std::uint64_t length_ = 0;
  std::uint64_t granularity_ = 0;
  std::uint64_t buf_size_ = 0;
  std::uint64_t cursor_ = 0;

  std::vector<bool> requested_;  // granules that a request has in hand
  unsigned requests_ = 0;
  std::uint64_t requested_bytes_ = 0;
  WaitQueue request_done_;
  // Target clusters that were written whole: only kept when the target cannot copy on write by
  // itself, because its header names a backing file that is not attached yet.
  std::vector<bool> whole_clusters_;
  std::uint64_t target_cluster_ = 0;
  std::optional<Error> failure_;
  bool should_complete_ = false;
  bool drained_ = false;
};

}  // namespace sim::job
