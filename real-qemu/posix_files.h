// The port Files over real files in one directory.

#pragma once

#include <string>
#include <vector>

#include "conformance/target/files.h"

namespace real_qemu {

// A path that is not one plain name beneath the directory is refused with EACCES.
class PosixFiles final : public conformance::Files {
 public:
  // `directory` is absolute, without a trailing slash, and outlives the object.
  explicit PosixFiles(std::string directory) : directory_(std::move(directory)) {}

  std::string directory() const override { return directory_; }
  std::optional<std::uint64_t> size(const std::string& path) const override;
  sim::Result<> read(const std::string& path, std::uint64_t offset,
                     sim::MutableBytes into) const override;
  sim::Result<> create(const std::string& path, std::uint64_t size) override;
  sim::Result<> write(const std::string& path, std::uint64_t offset, sim::Bytes from) override;
  sim::Result<> remove(const std::string& path) override;
  std::vector<std::string> names() const override;

 private:
  bool is_inside(const std::string& path) const;
  std::string directory_;
};

}  // namespace real_qemu
