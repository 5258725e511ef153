#include "real-qemu/posix_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "real-qemu/descriptor.h"

namespace real_qemu {
namespace {

constexpr int kFlags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;

}  // namespace

bool PosixFiles::is_inside(const std::string& path) const {
  if (!path.starts_with(directory_ + "/")) return false;
  const std::string_view name = std::string_view(path).substr(directory_.size() + 1);
  return !name.empty() && name != "." && name != ".." && !name.contains('/') &&
         !name.contains('\0');
}

std::optional<std::uint64_t> PosixFiles::size(const std::string& path) const {
  struct stat status{};
  if (!is_inside(path) || ::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode))
    return std::nullopt;
  return static_cast<std::uint64_t>(status.st_size);
}

sim::Result<> PosixFiles::read(const std::string& path, std::uint64_t offset,
                               sim::MutableBytes into) const {
  if (!is_inside(path)) return sim::os_error(EACCES, path);
  const Descriptor file(::open(path.c_str(), O_RDONLY | kFlags));
  if (!file) return sim::os_error(errno, path);
  while (!into.empty()) {
    const ssize_t got = ::pread(file.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return sim::os_error(errno, path);
    if (got == 0) break;
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  std::ranges::fill(into, std::byte{0});
  return sim::ok();
}

sim::Result<> PosixFiles::create(const std::string& path, std::uint64_t size) {
  // The directory is flat: a path beneath a subdirectory leads through one that is not there.
  const bool beneath = path.starts_with(directory_ + "/") && path.find("/..") == std::string::npos;
  if (!is_inside(path)) return sim::os_error(beneath ? ENOENT : EACCES);
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | kFlags, 0600));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(size)) != 0) return sim::os_error(errno);
  return sim::ok();
}

sim::Result<> PosixFiles::write(const std::string& path, std::uint64_t offset, sim::Bytes from) {
  if (!is_inside(path)) return sim::os_error(EACCES, path);
  const Descriptor file(::open(path.c_str(), O_WRONLY | kFlags));
  if (!file) return sim::os_error(errno, path);
  while (!from.empty()) {
    const ssize_t put = ::pwrite(file.get(), from.data(), from.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return sim::os_error(errno, path);
    from = from.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
  return sim::ok();
}

sim::Result<> PosixFiles::remove(const std::string& path) {
  if (!is_inside(path)) return sim::os_error(EACCES, path);
  if (::unlink(path.c_str()) != 0) return sim::os_error(errno, path);
  return sim::ok();
}

std::vector<std::string> PosixFiles::names() const {
  std::vector<std::string> found;
  std::error_code error;
  for (auto entry = std::filesystem::directory_iterator(directory_, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
    found.push_back(entry->path().filename().string());
  std::ranges::sort(found);
  return found;
}

}  // namespace real_qemu
