// Sizes and dates as QEMU's programs print them.

#pragma once

#include <cstdint>
#include <string>

namespace sim {

// "1.5 MiB": three digits of the nearest value, the unit chosen so that less than 1000 are shown.
std::string human_size(std::uint64_t bytes);

// "2026-11-25 22:57:59" for seconds since the epoch; `ahead` seconds east of Greenwich.
std::string date_text(std::uint32_t since_epoch, std::int64_t ahead);

}  // namespace sim
