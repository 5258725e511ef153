// commit: copies what layers of a chain have into the one below them, and drops them.  Of layers
// that nobody writes to; the active layer's commit is a mirror (mirror.h).
//
// Source of the rules: QAPI's block-commit, and QEMU 5.2 to 11.1 as measured (commit_test.cc).

#pragma once

#include <memory>
#include <optional>
#include <string>

#include "sim/block/filter.h"
#include "sim/job/block_job.h"

namespace sim::job {

struct CommitSettings {
  Settings job;
  block::NodePtr active;     // the chain's root, which the job belongs to
  block::NodePtr top;        // the uppermost layer that goes; below `active`
  block::NodePtr base;       // takes what was above it
  std::string backing_file;  // what the header above is to call the base; empty: its file name
  std::optional<std::string> filter_node_name;  // none: an implicit filter, its name generated
  std::uint64_t speed = 0;                      // bytes per second; 0: no limit
  block::OnError on_error = block::OnError::report;
};

// The job's filter above the top layer: needs nothing and forbids nothing.
class CommitTop final : public block::FilterNode {
 public:
  using FilterNode::FilterNode;
  std::string exact_filename() const override { return filtered()->filename(); }
  block::Permission child_permission(const block::Edge& /*child*/,
                                     block::Permission /*above*/) const override {
    return {};
  }
};

class Commit final : public BlockJob {
 public:
  Commit(block::Graph& graph, CommitSettings settings);
  // Puts the filter above the top layer and takes the chain.  If it is refused the job can only
  // fail.
  Task<Result<>> take_nodes();

 protected:
  void let_go() override { clean(false); }
  Task<Result<>> run() override;
  Task<Result<>> prepare() override;
  void clean(bool success) override;

 private:
  Result<> take_chain();
  void thaw();
  Task<Result<>> copy(std::uint64_t offset, std::uint64_t length, bool zero, bool& reading);
  Task<Result<>> move_overlays(block::NodePtr top, const std::string& name);

  CommitSettings settings_;
  block::Node* base_overlay_ = nullptr;
  std::shared_ptr<CommitTop> filter_;
  block::Backend base_, top_;  // as QEMU makes them
  bool frozen_ = false;
  bool base_was_read_only_ = false;
};

}  // namespace sim::job
