// mirror: copies a node to another while the guest writes, and keeps the two the same until it is
// cancelled (the copy stays as it is) or completed (the guest moves over: pivot).
//
// Source of the rules: QAPI's blockdev-mirror, and QEMU 7.2 as measured; each is tested in
// mirror_test.cc or by the block-copy matrix against the real thing.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/block/backend.h"
#include "sim/block/filter.h"
#include "sim/job/block_job.h"
#include "sim/job/dirty_walk.h"

namespace sim::job {

enum class MirrorSync : std::uint8_t { full, top, none };

// What becomes of the target's backing file at the pivot.
enum class MirrorBacking : std::uint8_t {
  leave,         // it has the one it was opened with
  from_source,   // the source's, or with sync=none the source itself
  as_in_header,  // what the target's header names is opened
};

struct MirrorSettings {
  Settings job;
  block::NodePtr source;
  block::NodePtr target;
  MirrorSync sync = MirrorSync::full;
  std::uint64_t granularity = 0;   // bytes, a power of two in [512, 64 MiB]; 0: the default
  std::uint64_t buf_size = 0;      // bytes; 0: 16 MiB
  std::uint64_t speed = 0;         // bytes per second; 0: no limit
  bool speed_is_negative = false;  // refused once there is a job
  block::OnError on_source_error = block::OnError::report;
  block::OnError on_target_error = block::OnError::report;
  std::optional<std::string> filter_node_name;  // none: an implicit filter, its name generated
  // The node whose place the target takes at the pivot; empty: the source.
  std::optional<std::string> replaces;
  MirrorBacking backing = MirrorBacking::leave;
  bool write_blocking = false;  // copy-mode: guest writes go to both sides at once
  bool zero_target = true;      // sync=full: it may hold what the source has not
  bool target_is_zero = false;  // so the user says
  // An active layer's commit: the target is the base of the source's own chain.
  bool is_commit = false;
  bool unmap = true;  // zeroes may be stored as holes
};

class Mirror;

// The job's filter above its source.
class MirrorTop final : public block::FilterNode {
 public:
  using FilterNode::FilterNode;
  std::string exact_filename() const override { return filtered()->filename(); }
  block::Permission child_permission(const block::Edge& child,
                                     block::Permission above) const override;

 protected:
  class Copied;
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override;
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                 block::ZeroFlags flags) override;
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override;

 public:
  Mirror* job = nullptr;  // while it copies
  bool is_commit = false;
  // What the guest writes is marked here, where the release goes by the filter.
  std::shared_ptr<block::DirtyBitmap> dirty;
  bool stopped = false;  // the job is over: it needs and forbids nothing
};

// For tests: a mirror that is wrong on purpose, so that a harness can be seen to catch it.
enum class MirrorCanary : std::uint8_t { none, forgets_writes_after_ready };

class Mirror final : public BlockJob {
 public:
  // Refuses what QEMU refuses before it looks at the job's id.
  static Result<> check_granularity(const Profile& profile, const MirrorSettings& settings);
  // The same for the node it is to replace.
  static Result<> check_replaced(const block::Graph& graph, const MirrorSettings& settings);
  Mirror(block::Graph& graph, MirrorSettings settings, MirrorCanary canary);
  // Puts the filter node above the source, and takes both nodes for itself.  If it is refused the
  // job can only fail (Jobs::fail_early).
  Result<> take_nodes();
  // A commit's base may be read-only; afterwards it is not (measured, 7.2).
  Task<Result<>> make_target_writable();

  void describe(Json& info) const override;

  // A change by the guest, which reaches the source through `filter`'s do_… and, in copy-mode
  // write-blocking, the target with it.  `from` is empty but for writes.
  enum class Change : std::uint8_t { write, zero, discard };
  struct GuestChange {
    Change kind;
    std::uint64_t offset, bytes;
    Bytes from;
    block::ZeroFlags flags;
  };
  bool copies_at_once() const { return settings_.write_blocking && !is_cancelled(); }
  Task<void> begin_guest_change(std::uint64_t offset, std::uint64_t bytes);
  Task<void> copy_guest_change(GuestChange change);
  void end_guest_change(std::uint64_t offset, std::uint64_t bytes);
  void guest_change_was_not_copied() { actively_synced_ = false; }
  bool is_drained() const override { return drained_; }
  bool drained_poll() const override { return !drained_ && BlockJob::drained_poll(); }
  // Whether there may be a job of its id: it is asked once the filter is there, as QEMU does.
  std::function<Result<>()> check_id;
  // Opens the backing file that a node's header names, and attaches it; given from outside.
  std::function<Task<Result<>>(block::Node&)> open_backing;

 protected:
  void let_go() override { clean(false); }
  Task<Result<>> run() override;
  Task<Result<>> prepare() override;
  void clean(bool success) override;
  Result<> do_complete() override;
  Result<> do_change(const std::string& copy_mode) override;
  bool refuses(Verb verb) const override;
  bool is_forced(bool force) const override { return force || !is_ready(); }

 private:
  Task<bool> hold_guest();
  void release_guest();
  enum class Method : std::uint8_t { copy, zero, discard };
  struct Request {
    std::uint64_t offset;
    std::uint64_t bytes;
    Method method;
  };

  Result<> take_chain();
  void drop_filter();
  Result<> pivot();
  Task<Result<>> settle_backing();
  Task<Result<bool>> is_all_zero(block::Node& node) const;
  Task<Result<>> zero_whole_target();
  bool is_zero_already(std::uint64_t offset, std::uint64_t bytes) const;
  void set_zero(std::uint64_t offset, std::uint64_t bytes, bool zero);
  Task<Result<>> send(const GuestChange& change);
  void take_part(GuestChange& change) const;
  void set_requested(std::uint64_t offset, std::uint64_t bytes, bool requested);
  void thaw();
  void find_out_about_target();
  Task<Result<>> find_dirty();
  bool punches_holes() const;
  Task<Result<>> wait_for_end_of_empty_disk();
  Task<Result<>> synchronise();
  Task<Duration> start_requests();
  std::uint64_t take_dirty_run(std::uint64_t offset);
  Request next_request(std::uint64_t offset, std::uint64_t bytes,
                       const block::Status& status) const;
  Request widened_to_target_clusters(Request request) const;
  Task<void> perform(Request request, std::uint64_t taken_offset, std::uint64_t taken_bytes);
  Task<Result<>> transfer(Request request, bool& reading);
  void request_failed(Error error, bool reading);
  // False: it has failed, and the policy for the target has been asked.
  Task<bool> flush_target();
  Task<void> wait_for_a_request();
  bool overlaps_request(std::uint64_t offset, std::uint64_t bytes) const;
  bool should_end() const { return should_complete_ || cancel_requested(); }

  MirrorSettings settings_;
  MirrorCanary canary_;
  std::shared_ptr<block::DirtyBitmap> dirty_;
  std::shared_ptr<MirrorTop> filter_;
  block::Backend target_;
  std::uint64_t length_ = 0;
  std::uint64_t granularity_ = 0;
  std::uint64_t buf_size_ = 0;
  std::optional<DirtyWalk> walk_;
  bool ran_ = false;

  std::vector<bool> requested_;  // granules that a request has in hand
  unsigned requests_ = 0;
  std::uint64_t requested_bytes_ = 0;
  WaitQueue request_done_;
  // Target clusters that were written whole: only kept when the target cannot copy on write by
  // itself, because its header names a backing file that is not attached yet.
  std::vector<bool> whole_clusters_;
  std::uint64_t target_cluster_ = 0;
  // Granules of the target that are known to read as zeroes (11.1); empty: not looked at.
  std::vector<bool> zero_;
  unsigned guest_changes_ = 0;  // under way to both sides
  std::uint64_t guest_bytes_ = 0;
  bool actively_synced_ = false;
  block::NodePtr to_replace_;
  block::Reason replace_reason_;
  std::optional<Error> failure_;
  bool should_complete_ = false;
  bool drained_ = false;
  bool holds_guest_ = false;  // by a drained section of the source
  bool frozen_ = false;
  bool target_was_read_only_ = false;
};

}  // namespace sim::job
