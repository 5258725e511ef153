// Making a new image, byte for byte as `qemu-img create -f qcow2` of QEMU 7.2 does.

#pragma once

#include <cstdint>
#include <string>

#include "sim/base/result.h"
#include "sim/storage/storage.h"
#include "sim/world/task.h"

namespace sim::qcow2 {

struct CreateOptions {
  std::uint64_t size = 0;  // virtual size in bytes, rounded up to whole sectors of 512
  std::uint32_t cluster_bits = 16;
  std::string backing_file;    // stored as it is; empty: none
  std::string backing_format;  // stored as it is; empty: none
};

// Empties `file` and writes an empty image of version 3 into it, in QEMU's layout: header, refcount
// table, refcount block, L1 table (format.md).  EINVAL and EFBIG for options that QEMU refuses,
// with its words.
Task<Result<>> create(storage::Storage& file, CreateOptions options);

}  // namespace sim::qcow2
