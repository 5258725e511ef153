// A guest's virtio-blk disk, as far as its block side goes: the root of a node chain, and the
// requests a guest makes.

#pragma once

#include <string>

#include "sim/block/permissions.h"

namespace sim::device {

class VirtioBlk {
 public:
  // `id` is the device's, as given to device_add; the node is used from here on.
  VirtioBlk(std::string id, block::NodePtr node)
      : id_(std::move(id)), root_(std::move(node), nullptr, "root") {
    const block::User user = block::device_user(backend_path(), !root_->read_only);
    root_.user = user.name;
    root_.required = user.required;
    root_.shared = user.shared;
  }

  const std::string& id() const { return id_; }
  std::string qom_path() const { return "/machine/peripheral/" + id_; }
  // What HMP's `qemu-io -d` and query-block call it.
  std::string backend_path() const { return backend_path_of(id_); }
  static std::string backend_path_of(const std::string& id) {
    return "/machine/peripheral/" + id + "/virtio-backend";
  }
  block::Node& node() const { return *root_; }

  // Requests beyond the end fail with EIO, as a guest's do.
  Task<Result<>> read(std::uint64_t offset, MutableBytes into);
  Task<Result<>> write(std::uint64_t offset, Bytes from);
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap);
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length);
  Task<Result<>> flush() { return root_->flush(); }

  // device_del was accepted; the guest lets go at the next reset.
  bool unplug_requested = false;

 private:
  Result<> check_range(std::uint64_t offset, std::uint64_t length) const;

  std::string id_;
  block::Edge root_;
};

}  // namespace sim::device
