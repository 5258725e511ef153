// The speed and memory of `understudy image`, beside qemu-img in the same run.

#pragma once

#include <string>

namespace cli {

// Prints the table.  `program` is understudy; with `quick`, smaller images and fewer rounds.
// False if something could not be run.
bool bench_images(const std::string& program, bool quick);

}  // namespace cli
