// The port to a target's files: one private directory per scenario.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/result.h"

namespace conformance {

// What files were at some time.
class RememberedFiles {
 public:
  virtual ~RememberedFiles() = default;
  // Whether this file holds something else now, or is gone.  False for one that was not there then.
  virtual bool has_changed(const std::string& path) const = 0;
};

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
  // Shows [offset, offset + length) piece by piece, in order, without copying what lies in memory.
  // A piece without bytes is a hole, which reads as zeroes.  From a multiple of 512, all pieces but
  // the last are multiples of 512 bytes long.  The bytes are there during the call only.  Errors as
  // read()'s.
  using See = std::function<void(std::uint64_t length, sim::Bytes bytes)>;
  virtual sim::Result<> visit(const std::string& path, std::uint64_t offset, std::uint64_t length,
                              const See& see) const;
  // Makes a file of that many zero bytes, sparse; replaces one that is there.  ENOENT if the path's
  // directory does not exist (there are no subdirectories); the text is the system's, without path.
  virtual sim::Result<> create(const std::string& path, std::uint64_t size) = 0;
  // Overwrites part of a file that exists; grows it if it must.
  virtual sim::Result<> write(const std::string& path, std::uint64_t offset, sim::Bytes from) = 0;
  virtual sim::Result<> remove(const std::string& path) = 0;
  // All files as they are now; null where that could not be had without copying them.  To be asked
  // while these Files live.
  virtual std::unique_ptr<RememberedFiles> remember() const { return nullptr; }
  // Names (not paths) of the directory's files, sorted.
  virtual std::vector<std::string> names() const = 0;
};

}  // namespace conformance
