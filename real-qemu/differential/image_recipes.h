// How images for the comparison of `understudy image` with qemu-img are made: shell lines that both
// can run, drawn over every feature of the format.

#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

namespace differential {

struct ImageRecipe {
  std::string name;  // unique; letters, digits, '_'
  // Run by sh in an empty directory; "$IMG" is qemu-img or `understudy image`, "$IO" qemu-io or
  // `understudy image io`.
  std::vector<std::string> lines;
  std::string image = "i.qcow2";  // the one to look at
  // How it is opened if its name is not enough: what comes between the command's own options and
  // `image`, which is then left out ("--object … --image-opts …").
  std::string access = {};
  bool same_bytes = true;    // QEMU is deterministic here: both make the same file
  bool has_content = true;   // small enough to be read as a whole
  bool for_releases = true;  // every release of QEMU may read it
};

// For GoogleTest.
inline void PrintTo(const ImageRecipe& recipe, std::ostream* out) { *out << recipe.name; }

// All of them: at least 300, the same on every machine.
std::vector<ImageRecipe> image_recipes();

}  // namespace differential
