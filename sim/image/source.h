// What one layer is opened from: a name, or options of QEMU's.

#pragma once

#include <memory>
#include <string>

#include "sim/base/json.h"
#include "sim/base/result.h"

namespace sim::image {

struct Source {
  std::string filename = {};                   // as it was typed or composed
  std::string format = {};                     // empty: to be recognised
  std::string key_secret = {};                 // encrypt.key-secret: the id of a secret
  std::string data_file = {};                  // data-file.filename; empty: what the image says
  bool without_backing = false;                // backing=null
  bool read_only = false;                      // read-only=on
  std::shared_ptr<const Source> backing = {};  // null: what the image says
};

// From a name ("file:NAME", "json:{…}", NAME) with the format given for it, or from an option
// string
// (`image_opts`).  Errors are QEMU's.
Result<Source> source_of(const std::string& filename, const std::string& format, bool image_opts);

}  // namespace sim::image
