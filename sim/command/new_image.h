// Images that commands make and open by file name: the targets of drive-mirror and drive-backup,
// overlays of blockdev-snapshot-sync.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "sim/command/context.h"

namespace sim::command {

struct NewImage {
  std::string filename;
  std::string format;
  std::uint64_t size = 0;  // bytes
  // As the header is to name it; nothing is opened.  Empty: none.
  std::string backing_file = {}, backing_format = {};
};

// What `qemu-img create` makes of it; QEMU's texts (bdrv_img_create).
Task<Result<>> create_image(Context& context, NewImage image);

struct OpenImage {
  std::optional<std::string> node_name = {};  // none: generated; empty: refused
  bool unmap = false;                         // discard=unmap, unless the name says otherwise
  bool is_backup = false;                     // detect-zeroes=unmap and discard=unmap
  bool backing = false;                       // with the backing file that its header names
  bool probes = false;                        // an empty format is found out from the first bytes
  bool read_only = false;
  bool cache_direct = false, cache_no_flush = false;
};

// Opens an image by name.
Task<Result<block::NodePtr>> open_image(Context& context, std::string filename, std::string format,
                                        OpenImage how);

// What another image's header is to name as the layer `node`: filters that jobs made unasked are
// skipped.
const block::Node& explicit_node(const block::Node& node);

}  // namespace sim::command
