// backup: copies a node as it is at the start, while the guest goes on writing: what the guest is
// about to overwrite is copied first, by a copy-before-write filter above the node.
//
// Source of the rules: QAPI's blockdev-backup, and QEMU 5.2 to 11.1 as measured (scenarios/qmp).

#pragma once

#include <memory>
#include <optional>
#include <string>

#include "sim/block/backend.h"
#include "sim/driver/copy_before_write.h"
#include "sim/job/block_job.h"

namespace sim::job {

enum class BackupSync : std::uint8_t { full, top, none, bitmap };
enum class BitmapMode : std::uint8_t { on_success, never, always };

struct BackupSettings {
  Settings job;
  block::NodePtr source;
  block::NodePtr target;
  BackupSync sync = BackupSync::full;
  std::shared_ptr<block::DirtyBitmap> bitmap;  // one of the source's; null: none
  BitmapMode bitmap_mode = BitmapMode::on_success;
  bool compress = false;
  std::optional<std::string> filter_node_name;  // none: an implicit filter, its name generated
  std::uint64_t speed = 0;                      // bytes per second; 0: no limit
  block::OnError on_source_error = block::OnError::report;
  block::OnError on_target_error = block::OnError::report;
  driver::CbwOptions cbw;
  unsigned workers = 64;        // x-perf.max-workers
  std::uint64_t max_chunk = 0;  // x-perf.max-chunk, bytes; 0: no limit
};

class Backup final : public BlockJob {
 public:
  Backup(block::Graph& graph, BackupSettings settings);

  // Puts the filter above the source and takes the bitmap.  Refused, nothing is left and there is
  // no job.
  Result<> take_source();
  // It is not to be, after all: the source is as it was.
  void refuse();
  // Takes what the job holds; refused, the job can only fail.
  Result<> take_nodes();

 protected:
  void let_go() override { clean(false); }
  Task<Result<>> run() override;
  void clean(bool success) override;
  Task<void> about_to_pause() override;
  bool speed_changed() override;

 private:
  driver::BlockCopy& copy() { return filter_->copy(); }
  void choose_what_to_copy();
  Task<Result<>> skip_unallocated();
  Task<Result<>> copy_in_background();
  Task<void> stop_call();
  Task<Result<>> copy_by_cluster();
  Task<bool> ends_after_yield();
  bool is_reported(const Error& error, bool reading);
  void settle_bitmap(bool success);

  BackupSettings settings_;
  std::shared_ptr<driver::CopyBeforeWrite> filter_;
  std::shared_ptr<driver::BlockCopy::Call> call_;
  WaitQueue call_ended_;
  bool awaits_call_ = false;
  std::uint64_t done_since_ = 0;  // bytes since the last rest (5.2)
  bool holds_bitmap_ = false;
};

}  // namespace sim::job
