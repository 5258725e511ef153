#include "real-qemu/directory.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace real_qemu {
namespace {

constexpr std::uint64_t kRoom = std::uint64_t{256} << 20;

std::string failure(const std::string& path) {
  return "cannot make a directory " + path + ": " + std::strerror(errno);
}

}  // namespace

std::string scratch_place() {
  if (const char* chosen = ::getenv("TMPDIR"); chosen != nullptr && *chosen == '/') return chosen;
  constexpr const char* kShared = "/dev/shm";
  struct statfs place{};
  if (::statfs(kShared, &place) == 0 && place.f_type == TMPFS_MAGIC &&
      static_cast<std::uint64_t>(place.f_bavail) * static_cast<std::uint64_t>(place.f_bsize) >=
          kRoom &&
      ::access(kShared, W_OK | X_OK) == 0)
    return kShared;
  return "/tmp";
}

std::expected<PrivateDirectory, std::string> PrivateDirectory::make(const std::string& place) {
  std::string path = place + "/understudy-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return std::unexpected(failure(path));
  return PrivateDirectory(std::move(path));
}

std::expected<PrivateDirectory, std::string> PrivateDirectory::make_at(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0) return std::unexpected(failure(path));
  return PrivateDirectory(path);
}

PrivateDirectory::PrivateDirectory(PrivateDirectory&& other) noexcept
    : path_(std::exchange(other.path_, {})) {}

PrivateDirectory& PrivateDirectory::operator=(PrivateDirectory&& other) noexcept {
  if (this != &other) {
    remove();
    path_ = std::exchange(other.path_, {});
  }
  return *this;
}

void PrivateDirectory::remove() {
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  path_.clear();
}

}  // namespace real_qemu
