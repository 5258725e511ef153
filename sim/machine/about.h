// What the program is, and what it takes without simulating it: `understudy-qemu --about`.

#pragma once

#include <string>

namespace sim::machine {

std::string about_text();

}  // namespace sim::machine
