// Passes everything on to its only child, in the role "backing" or "file".

#pragma once

#include "sim/block/node.h"

namespace sim::block {

class FilterNode : public Node {
 public:
  using Node::Node;

  std::uint64_t size() const override { return filtered()->size(); }
  Task<Result<Status>> status(std::uint64_t offset, std::uint64_t length) override {
    return filtered()->status(offset, length);
  }
  std::uint64_t cluster_size() const override { return filtered()->cluster_size(); }
  bool is_filter() const override { return true; }
  bool supports_compression() const override { return filtered()->supports_compression(); }

 protected:
  Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) override {
    return filtered()->read(offset, into);
  }
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override {
    return filtered()->write(offset, from);
  }
  Task<Result<>> do_write_compressed(std::uint64_t offset, Bytes from) override {
    return filtered()->write_compressed(offset, from);
  }
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                 ZeroFlags flags) override {
    return filtered()->write_zeroes(offset, length, flags);
  }
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override {
    return filtered()->discard(offset, length);
  }
  // Also after it was taken out of its chain.
  Task<Result<>> do_flush() override {
    if (Node* next = filtered()) co_return co_await next->flush();
    co_return ok();
  }
  Task<Result<>> do_truncate(Truncate wanted) override { return filtered()->truncate(wanted); }
};

}  // namespace sim::block
