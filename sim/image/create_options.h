// -o of create, convert and measure: what a new image is to be like.

#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "sim/base/result.h"
#include "sim/image/open.h"
#include "sim/qcow2/create.h"

namespace sim::image {

using OptionPairs = std::vector<std::pair<std::string, std::string>>;

// Of several -o, the last of each name counts.  `format` is "raw" or "qcow2"; raw knows size and
// preallocation only.  Secrets that the options name come from the context; `random` is for keys.
// What is not named stays as it is in `defaults`.  Errors are QEMU's, without the file's name.
Result<qcow2::CreateOptions> read_create_options(const Context& context, const std::string& format,
                                                 const OptionPairs& given,
                                                 qcow2::CreateOptions defaults,
                                                 std::function<void(MutableBytes)> random);

// True if the text of an -o asks for help ("help" or "?" as an option).
bool asks_for_help(const std::string& options);

// The table that -o help shows.
std::string create_options_help(const std::string& format);

}  // namespace sim::image
