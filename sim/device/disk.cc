#include "sim/device/disk.h"

#include <fmt/format.h>

namespace sim::device {

Disk::Disk(Model model, std::string id, unsigned number, std::unique_ptr<block::Backend> backend)
    : Disk(model, std::move(id), number, *backend) {
  owned_ = std::move(backend);
}

Disk::Disk(Model model, std::string id, unsigned number, block::Backend& backend)
    : model_(model), id_(std::move(id)), path_(path_of(id_, number)), backend_(&backend) {
  backend_->device = this;
  backend_->io_status_enabled = true;
}

Disk::~Disk() { backend_->device = nullptr; }

std::string Disk::path_of(const std::string& id, unsigned number) {
  if (!id.empty()) return "/machine/peripheral/" + id;
  return fmt::format("/machine/peripheral-anon/device[{}]", number);
}

std::string Disk::qom_path() const {
  return model_ == Model::virtio_blk ? path_ + "/virtio-backend" : path_;
}

std::string Disk::label() const {
  return model_ == Model::virtio_blk || id_.empty() ? qom_path() : id_;
}

block::Permission Disk::permission(bool read_only, bool share_rw, bool resizable) {
  block::Permission result{block::kConsistentRead, block::kConsistentRead | block::kWriteUnchanged};
  if (resizable) result.shared |= block::kResize;
  if (!read_only) result.needed |= block::kWrite;
  if (share_rw) result.shared |= block::kWrite;
  return result;
}

}  // namespace sim::device
