#include "sim/driver/node_storage.h"

#include "sim/block/chain.h"

namespace sim::driver {

namespace {

class NodeStorage final : public storage::Storage {
 public:
  explicit NodeStorage(block::Node& parent) : parent_(parent) {}

  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override {
    return block::read_padded(*parent_.file(), offset, into);
  }
  Task<Result<>> write(std::uint64_t offset, Bytes from) override {
    return parent_.file()->write(offset, from);
  }
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override {
    return parent_.file()->write_zeroes(offset, length, {.unmap = unmap});
  }
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length) override {
    return parent_.file()->discard(offset, length);
  }
  Task<Result<>> flush() override { return parent_.file()->flush(); }
  Task<Result<>> truncate(std::uint64_t size) override {
    return parent_.file()->truncate({.size = size});
  }
  std::uint64_t size() const override { return parent_.file()->size(); }
  storage::Extent extent_at(std::uint64_t offset) const override {
    return {.length = size() - offset, .data = true};
  }
  std::uint64_t allocated() const override { return size(); }

 private:
  block::Node& parent_;
};

}  // namespace

std::shared_ptr<storage::Storage> storage_through_file(block::Node& parent) {
  return std::make_shared<NodeStorage>(parent);
}

}  // namespace sim::driver
