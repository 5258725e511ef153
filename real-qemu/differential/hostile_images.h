// Images that somebody made to harm whoever opens them: valid ones, made by qemu-img, with chosen
// bytes changed.

#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

namespace differential {

struct Patch {
  std::uint64_t offset = 0;
  std::string bytes = {};
};

struct HostileImage {
  std::string name;  // unique; letters, digits, '_'
  std::string base;  // a file of make_bases()
  std::vector<Patch> patches = {};
  std::int64_t length = -1;              // what the file is cut or extended to; -1: left
  std::vector<std::string> around = {};  // shell lines that make more files beside `h.qcow2`
};

// For GoogleTest.
inline void PrintTo(const HostileImage& image, std::ostream* out) { *out << image.name; }

// Shell lines that make the images which the cases change.
std::vector<std::string> base_lines();

// At least 300, the same on every machine.
std::vector<HostileImage> hostile_images();

}  // namespace differential
