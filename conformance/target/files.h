// The port to a target's files: one private directory per scenario.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/result.h"

namespace conformance {

class Files {
 public:
  virtual ~Files() = default;

  // The directory's absolute path without a trailing slash: what `${dir}` stands for.
  virtual std::string directory() const = 0;

  // Length in bytes of the file at this absolute path; nothing if there is none.
  virtual std::optional<std::uint64_t> size(const std::string& path) const = 0;
  // Fills `into` from `offset`; ENOENT if there is no such file; beyond its end reads as zeroes.
  virtual sim::Result<> read(const std::string& path, std::uint64_t offset,
                             sim::MutableBytes into) const = 0;
  // Makes a file of that many zero bytes, sparse; replaces one that is there.  ENOENT if the path's
  // directory does not exist (there are no subdirectories); the text is the system's, without path.
  virtual sim::Result<> create(const std::string& path, std::uint64_t size) = 0;
  // Overwrites part of a file that exists; grows it if it must.
  virtual sim::Result<> write(const std::string& path, std::uint64_t offset, sim::Bytes from) = 0;
  virtual sim::Result<> remove(const std::string& path) = 0;
  // Names (not paths) of the directory's files, sorted.
  virtual std::vector<std::string> names() const = 0;
};

}  // namespace conformance
