#include "reports/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace reports {
namespace {

sim::Result<> write_all(int descriptor, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return sim::os_error(errno, path);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return sim::ok();
}

// Closes the descriptor in any case.
sim::Result<> fill(int descriptor, std::string_view text, const std::string& path, bool sync) {
  sim::Result<> result = write_all(descriptor, text, path);
  if (result && sync && ::fsync(descriptor) != 0) result = sim::os_error(errno, path);
  if (::close(descriptor) != 0 && result) result = sim::os_error(errno, path);
  return result;
}

}  // namespace

sim::Result<> write_file(const std::string& path, std::string_view text) {
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    const int descriptor = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) return sim::os_error(errno, path);
    return fill(descriptor, text, path, false);
  }
  const std::string beside = fmt::format("{}.{}.new", path, ::getpid());
  const int descriptor = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) return sim::os_error(errno, path);
  sim::Result<> result = fill(descriptor, text, path, true);
  if (result && ::rename(beside.c_str(), path.c_str()) != 0) result = sim::os_error(errno, path);
  if (!result) ::unlink(beside.c_str());
  return result;
}

}  // namespace reports
