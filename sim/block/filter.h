// Passes everything on to its only child, in the role "backing" or "file".

#pragma once

#include <algorithm>
#include <optional>

#include "sim/block/chain.h"
#include "sim/block/node.h"

namespace sim::block {

class FilterNode : public Node {
 public:
  using Node::Node;

  std::uint64_t size() const override { return kept_size_ ? *kept_size_ : filtered()->size(); }
  Task<Result<Status>> status(std::uint64_t offset, std::uint64_t length) override {
    return filtered()->status(offset, length);
  }
  std::uint64_t cluster_size() const override { return filtered()->cluster_size(); }
  bool is_filter() const override { return true; }
  bool supports_compression() const override { return filtered()->supports_compression(); }

  // From here on it has the size that it has now, whatever becomes of what it filters; its own
  // writes and truncations change it.
  void keep_size() { kept_size_ = filtered()->size(); }

 protected:
  Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) override {
    return kept_size_ ? read_padded(*filtered(), offset, into) : filtered()->read(offset, into);
  }
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override {
    grow(offset + from.size());
    return filtered()->write(offset, from);
  }
  Task<Result<>> do_write_compressed(std::uint64_t offset, Bytes from) override {
    grow(offset + from.size());
    return filtered()->write_compressed(offset, from);
  }
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                 ZeroFlags flags) override {
    grow(offset + length);
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
  Task<Result<>> do_truncate(Truncate wanted) override {
    Result<> done = co_await filtered()->truncate(wanted);
    if (done && kept_size_) keep_size();
    co_return done;
  }

 private:
  void grow(std::uint64_t end) {
    if (kept_size_) kept_size_ = std::max(*kept_size_, end);
  }

  std::optional<std::uint64_t> kept_size_;  // bytes
};

}  // namespace sim::block
