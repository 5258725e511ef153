#include "sim/driver/node_storage.h"

#include <functional>

#include "sim/block/chain.h"

namespace sim::driver {

namespace {

class NodeStorage final : public storage::Storage {
 public:
  explicit NodeStorage(std::function<block::Node&()> node) : node_(std::move(node)) {}

  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override {
    return block::read_padded(node_(), offset, into);
  }
  Task<Result<>> write(std::uint64_t offset, Bytes from) override {
    return node_().write(offset, from);
  }
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override {
    return node_().write_zeroes(offset, length, {.unmap = unmap});
  }
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length) override {
    return node_().discard(offset, length);
  }
  Task<Result<>> flush() override { return node_().flush(); }
  Task<Result<>> truncate(std::uint64_t size) override { return node_().truncate({.size = size}); }
  std::uint64_t size() const override { return node_().size(); }
  storage::Extent extent_at(std::uint64_t offset) const override {
    return {.length = size() - offset, .data = true};
  }
  std::uint64_t allocated() const override { return size(); }

 private:
  std::function<block::Node&()> node_;
};

}  // namespace

std::shared_ptr<storage::Storage> storage_through(block::Node& parent, std::string child) {
  const auto node = [&parent, child = std::move(child)]() -> block::Node& {
    return *parent.child(child);
  };
  if (auto own = node().storage()) return own;
  return std::make_shared<NodeStorage>(node);
}

std::shared_ptr<storage::Storage> storage_of(const block::NodePtr& node) {
  if (auto own = node->storage()) return own;
  return std::make_shared<NodeStorage>([node]() -> block::Node& { return *node; });
}

}  // namespace sim::driver
