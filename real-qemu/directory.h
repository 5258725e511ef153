// Private directories that vanish with the object.

#pragma once

#include <expected>
#include <string>

namespace real_qemu {

// Where private directories are best made: $TMPDIR if it is set, else /dev/shm if that is a tmpfs
// with at least 256 MiB free (measured: images on a disk make a scenario several times slower),
// else /tmp.
std::string scratch_place();

class PrivateDirectory {
 public:
  // Makes PLACE/understudy-XXXXXX, for this user alone.  The error is a sentence.
  static std::expected<PrivateDirectory, std::string> make(const std::string& place);
  // Makes the directory PARENT/NAME, which must not exist.
  static std::expected<PrivateDirectory, std::string> make_at(const std::string& path);

  PrivateDirectory(PrivateDirectory&& other) noexcept;
  PrivateDirectory& operator=(PrivateDirectory&& other) noexcept;
  // Removes it with everything in it; follows no links.
  ~PrivateDirectory() { remove(); }

  // Absolute, without a trailing slash.
  const std::string& path() const { return path_; }

 private:
  explicit PrivateDirectory(std::string path) : path_(std::move(path)) {}
  void remove();
  std::string path_;
};

}  // namespace real_qemu
