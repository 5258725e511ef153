// What `io` prints: sizes, reports and dumps in qemu-io's form.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "sim/base/bytes.h"

namespace sim::tool {

// "64 KiB", "1.500 KiB", "100 bytes".
std::string io_size(std::uint64_t bytes);

// "wrote 512/512 bytes at offset 0" and what it took.  There is no clock here: every request takes
// a millisecond.
std::string io_report(std::string_view verb, std::uint64_t offset, std::uint64_t length);
// The same for programs: -C.
std::string io_report_fields(std::uint64_t length);

// Lines of 16 bytes, in hexadecimal and as letters and digits.
std::string io_dump(std::uint64_t offset, Bytes bytes);

}  // namespace sim::tool
