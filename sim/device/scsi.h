// A SCSI host bus adapter (virtio-scsi), as far as disks hang on it.

#pragma once

#include <cstdint>
#include <string>

namespace sim::device {

struct ScsiAddress {
  std::uint64_t target = 0;  // QEMU: scsi-id
  std::uint64_t lun = 0;
  friend bool operator==(const ScsiAddress&, const ScsiAddress&) = default;
};
// What virtio-scsi takes.
inline constexpr ScsiAddress kLastScsiAddress = {255, 16383};

struct ScsiController {
  std::string id;        // may be empty
  std::string path;      // "/machine/peripheral/hba"
  std::string bus;       // "hba.0"
  std::string iothread;  // where the requests of its disks come from; empty: the main loop
  // device_del was accepted; the guest lets go at the next reset.
  bool unplug_requested = false;
};

}  // namespace sim::device
