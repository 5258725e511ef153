// The filter that copies what a guest is about to overwrite to another node first, and
// snapshot-access, which reads through it what was there in the beginning.
//
// Source: QAPI's BlockdevOptionsCbw, QEMU's block/copy-before-write.c as measured on 7.2 to 11.1;
// 5.2 has it for backup jobs only, called backup-top.

#pragma once

#include <memory>
#include <optional>

#include "sim/block/filter.h"
#include "sim/driver/block_copy.h"

namespace sim::driver {

struct CbwOptions {
  bool fails_snapshot = false;  // on-cbw-error=break-snapshot: not the guest's write fails
  bool discard_source = false;
  std::uint64_t min_cluster_size = 0;
};

class CopyBeforeWrite final : public block::FilterNode {
 public:
  using FilterNode::FilterNode;
  ~CopyBeforeWrite() override;

  // Its children stand: what is in `bitmap` (null: everything) is to be copied.
  void begin(const CbwOptions& options, const block::DirtyBitmap* bitmap);
  BlockCopy& copy() { return *copy_; }
  // Copies nothing from here on, and lets go of the target.
  void end();

  std::string exact_filename() const override { return filtered()->filename(); }
  block::Permission child_permission(const block::Edge& child,
                                     block::Permission above) const override;
  Task<Result<>> close() override;

  // As it was in the beginning (snapshot-access).
  Task<Result<>> read_snapshot(std::uint64_t offset, MutableBytes into);
  Task<Result<block::Status>> snapshot_status(std::uint64_t offset, std::uint64_t length);
  // Never to be read again, nor copied for.
  Task<Result<>> discard_snapshot(std::uint64_t offset, std::uint64_t length);

 protected:
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override;
  Task<Result<>> do_write_compressed(std::uint64_t offset, Bytes from) override;
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                 block::ZeroFlags flags) override;
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override;

 private:
  Task<Result<>> copy_before(std::uint64_t offset, std::uint64_t length);
  Result<block::Node*> place_of(std::uint64_t offset, std::uint64_t& length);

  CbwOptions options_;
  std::shared_ptr<BlockCopy> copy_;
  std::shared_ptr<block::DirtyBitmap> access_, done_;
  std::optional<Error> snapshot_error_;
};

// Puts one above `source` (bdrv_cbw_append); an empty name is a generated one.
Result<std::shared_ptr<CopyBeforeWrite>> append_cbw(block::Graph& graph,
                                                    const block::NodePtr& source,
                                                    const block::NodePtr& target,
                                                    const std::string& name,
                                                    const CbwOptions& options);

}  // namespace sim::driver
