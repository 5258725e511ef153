// stream: copies what the layers below have into a node, and drops them from its chain.
//
// Source of the rules: QAPI's block-stream, and QEMU 5.2 to 11.1 as measured (stream_test.cc).

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "sim/job/block_job.h"

namespace sim::job {

struct StreamSettings {
  Settings job;
  block::NodePtr node;       // its layers below go …
  block::NodePtr base;       // … down to this one, which stays; null: all
  std::string backing_file;  // what the header is to call the base; empty: its file name
  std::optional<std::string> filter_node_name;  // none: an implicit filter, its name generated
  std::uint64_t speed = 0;                      // bytes per second; 0: no limit
  bool speed_is_negative = false;               // refused once there is a job
  block::OnError on_error = block::OnError::report;
};

class Stream final : public BlockJob {
 public:
  Stream(block::Graph& graph, StreamSettings settings);
  // Puts the filter above the node and takes the chain.  If it is refused the job can only fail.
  Task<Result<>> take_nodes();
  // Whether there may be a job of its id: it is asked once the filter is there, as QEMU does.
  std::function<Result<>()> check_id;

 protected:
  void let_go() override { clean(false); }
  Task<Result<>> run() override;
  Task<Result<>> prepare() override;
  // Its nodes stay in use until the job is dismissed (measured, 5.2 to 11.1).
  void clean(bool success) override;

 private:
  Result<> take_chain();
  Result<> take_layers();
  Task<Result<>> copy_all(block::Node& node);
  void drop_filter();

  StreamSettings settings_;
  block::Node* base_overlay_ = nullptr;  // the lowest layer that goes, or the node itself
  block::NodePtr above_base_;            // the node whose link leads to the base
  std::shared_ptr<block::Node> filter_;
  std::unique_ptr<block::Backend> user_;
  bool frozen_ = false;
  bool was_read_only_ = false;
  bool ran_ = false;
};

}  // namespace sim::job
