// A guest's disk, as far as its block side goes: a block backend, and the requests a guest makes.

#pragma once

#include <memory>
#include <optional>
#include <string>

#include "sim/block/backend.h"
#include "sim/device/scsi.h"

namespace sim::device {

enum class Model : std::uint8_t { virtio_blk, scsi_hd, scsi_cd, virtio_scsi };

class Disk final : public block::Device {
 public:
  // `id` is the device's, as given to device_add; empty: the number-th without one.  The backend
  // was given the node already, or has none (an empty CD drive).
  Disk(Model model, std::string id, unsigned number, std::unique_ptr<block::Backend> backend);
  // The same for a backend of `-drive`, which stays when the device goes.
  Disk(Model model, std::string id, unsigned number, block::Backend& backend);
  ~Disk() override;

  Model model() const { return model_; }
  const std::string& id() const { return id_; }
  // "/machine/peripheral/disk": the device itself.
  std::string device_path() const { return path_; }
  // The part that has the backend: what HMP's `qemu-io -d` and query-block call it.
  std::string qom_path() const;
  // A virtio disk's backend is a part of its own, without an id.
  std::string label() const override;
  block::Backend& backend() const { return *backend_; }
  block::NodePtr node() const { return backend_->node(); }

  // What the guest's model of the device needs of its node (`share_rw`: others may write, too;
  // `resizable`: others may change its size).
  static block::Permission permission(bool read_only, bool share_rw, bool resizable = true);
  static std::string path_of(const std::string& id, unsigned number);

  bool has_removable_media() const override { return removable || model_ == Model::scsi_cd; }
  bool is_tray_open() const override { return tray_open_; }
  bool is_medium_locked() const override { return locked_; }
  void set_tray(bool open) override { tray_open_ = open; }

  // Of a SCSI disk: what it hangs on.
  const ScsiController* controller = nullptr;
  ScsiAddress address = {};
  std::optional<std::int64_t> bootindex;
  bool removable = false;  // a hard disk whose medium is
  // A CD drive that was plugged in empty leaves its backend behind when it goes, and what is in it
  // stays in use (5.2 to 11.1).
  bool leaves_backend = false;
  std::unique_ptr<block::Backend> release_backend() { return std::move(owned_); }

  // device_del was accepted; the guest lets go at the next reset.
  bool unplug_requested = false;

 private:
  Model model_;
  std::string id_;
  std::string path_;
  std::unique_ptr<block::Backend> owned_;
  block::Backend* backend_;
  bool tray_open_ = false;
  bool locked_ = false;
};

}  // namespace sim::device
