// One disk out of others: what `qemu-img convert` does.

#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/result.h"
#include "sim/image/open.h"
#include "sim/qcow2/create.h"

namespace sim::image {

struct ConvertRequest {
  std::vector<OpenRequest> sources = {};  // read-only, with their chains
  // The destination.  Its file is made beside it and takes its name when it is complete; with
  // `existing` it is there, is opened and is written in place.
  OpenRequest destination = {};
  std::string format = "raw";  // of a new destination: raw or qcow2
  // Of a new destination; its size comes from the sources.
  qcow2::CreateOptions create = {};
  bool existing = false;
  bool zero_already = false;  // an existing destination reads as zeroes (--target-is-zero)
  bool over_backing = false;  // see CopyOptions; of a new destination: it has a backing file
  std::uint64_t sparse = 4096;
  bool compressed = false;
  bool salvage = false;
  bool bitmaps = false;              // persistent ones of the only source are copied
  bool skip_broken_bitmaps = false;  // those that are not consistent are left out
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};
  std::function<void(std::string_view text)> warning = {};
};

// Nothing is left behind if it fails, unless the destination existed and is written in place.
// A destination that is one of the sources, or beneath one, is refused.
Task<Result<>> convert(const Context& context, ConvertRequest request);

}  // namespace sim::image
