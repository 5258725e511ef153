// QEMU's option strings.

#pragma once

#include <cstdint>
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

// Values of options; refused in QEMU's words, which name the option.
Result<bool> switch_of(std::string_view name, std::string_view value);  // "on", "off", "yes", …
Result<std::uint64_t> number_of(std::string_view name, std::string_view value);  // decimal
Result<std::uint64_t> size_of(std::string_view name, const std::string& value);  // "64k"
// log2 of a refcount's width in bits.
Result<std::uint32_t> refcount_order_of(std::string_view name, std::string_view value);

}  // namespace sim::image
