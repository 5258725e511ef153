// QEMU's option strings.

#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/base/json.h"
#include "sim/base/result.h"

namespace sim::image {

// "a=b,c=d,,e" as QEMU reads it: commas doubled to be meant, a key without a value is "on", "nokey"
// is key=off; `implied` names what stands first without a key (empty: nothing may).
Result<std::vector<std::pair<std::string, std::string>>> parse_key_values(
    std::string_view text, std::string_view implied = {});

// The same with dotted keys, which make nested objects; all values are strings.  --image-opts.
Result<Json> parse_image_opts(std::string_view text);

}  // namespace sim::image
