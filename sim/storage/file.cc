#include "sim/storage/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>

#include "sim/storage/unfinished.h"

namespace sim::storage {

// Repeats a call that a signal interrupted; returns what it returned, errno tells the error.
template <class Call>
static auto retry(Call call) {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

// True if [offset, offset + length) can be said in off_t.
static bool possible(std::uint64_t offset, std::uint64_t length) {
  constexpr std::uint64_t kMax = std::numeric_limits<off_t>::max();
  return offset <= kMax && length <= kMax - offset;
}

RealFile::~RealFile() { ::close(descriptor_); }

Task<Result<>> RealFile::read(std::uint64_t offset, MutableBytes into) {
  while (!into.empty()) {
    ssize_t got = 0;
    if (possible(offset, 0))
      got = retry([&] {
        return ::pread(descriptor_, into.data(), into.size(), static_cast<off_t>(offset));
      });
    if (got < 0) co_return os_error(errno);
    if (got == 0) {  // the end of the file
      std::ranges::fill(into, std::byte{0});
      break;
    }
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  co_return ok();
}

Result<> RealFile::write_now(std::uint64_t offset, Bytes from) {
  if (!possible(offset, from.size())) return os_error(EFBIG);
  while (!from.empty()) {
    const ssize_t done = retry([&] {
      return ::pwrite(descriptor_, from.data(), from.size(), static_cast<off_t>(offset));
    });
    if (done < 0) return os_error(errno);
    if (done == 0) return os_error(ENOSPC);
    from = from.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  return ok();
}

Task<Result<>> RealFile::write(std::uint64_t offset, Bytes from) {
  co_return write_now(offset, from);
}

// Within the file.  A file system that knows neither call gets zeroes written.
Result<> RealFile::zero_now(std::uint64_t offset, std::uint64_t length, bool unmap) {
  const auto try_mode = [&](int mode) {
    return retry([&] {
             return ::fallocate(descriptor_, mode | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                                static_cast<off_t>(length));
           }) == 0;
  };
  const auto unknown = [] { return errno == EOPNOTSUPP || errno == ENOSYS; };
  if (length == 0) return ok();
  if (!unmap) {
    if (try_mode(FALLOC_FL_ZERO_RANGE)) return ok();
    if (!unknown()) return os_error(errno);
  }
  if (try_mode(FALLOC_FL_PUNCH_HOLE)) return ok();
  if (!unknown()) return os_error(errno);
  static constexpr std::array<std::byte, 65536> kZeroes{};
  while (length > 0) {
    const std::uint64_t part = std::min<std::uint64_t>(length, kZeroes.size());
    TRY_OK(write_now(offset, Bytes(kZeroes).first(part)));
    offset += part;
    length -= part;
  }
  return ok();
}

// Zeroes that take up their space, as QEMU makes them: by one call where the file system has it
// (tmpfs has not), else by a hole that is filled again.  The file grows.  False: neither works.
static bool zero_with_space(int descriptor, std::uint64_t offset, std::uint64_t length) {
  const auto allocate = [=](int mode) {
    return retry([=] {
             return ::fallocate(descriptor, mode, static_cast<off_t>(offset),
                                static_cast<off_t>(length));
           }) == 0;
  };
  if (allocate(FALLOC_FL_ZERO_RANGE)) return true;
  if (errno != EOPNOTSUPP && errno != ENOSYS) return false;
  return allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) && allocate(0);
}

Task<Result<>> RealFile::write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) {
  if (!possible(offset, length)) co_return os_error(EFBIG);
  if (length == 0) co_return ok();
  if (!unmap && zero_with_space(descriptor_, offset, length)) co_return ok();
  const std::uint64_t present = size();
  if (offset + length > present) {  // what is new reads as zeroes
    if (retry([&] { return ::ftruncate(descriptor_, static_cast<off_t>(offset + length)); }) < 0)
      co_return os_error(errno);
    length = offset < present ? present - offset : 0;
  }
  co_return zero_now(offset, length, unmap);
}

Task<Result<>> RealFile::discard(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t present = size();
  if (offset >= present) co_return ok();
  co_return zero_now(offset, std::min(length, present - offset), true);
}

Task<Result<>> RealFile::flush() {
  if (flush_ == Flush::safe && retry([&] { return ::fdatasync(descriptor_); }) < 0)
    co_return os_error(errno);
  co_return ok();
}

Task<Result<>> RealFile::truncate(std::uint64_t size) {
  if (!possible(0, size)) co_return os_error(EFBIG);
  if (retry([&] { return ::ftruncate(descriptor_, static_cast<off_t>(size)); }) < 0)
    co_return os_error(errno);
  co_return ok();
}

std::uint64_t RealFile::size() const {
  struct stat status{};
  return ::fstat(descriptor_, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

Extent RealFile::extent_at(std::uint64_t offset) const {
  const std::uint64_t end = size();
  if (offset >= end) return {};
  const off_t here = static_cast<off_t>(offset);
  const off_t data = ::lseek(descriptor_, here, SEEK_DATA);
  if (data < 0)  // ENXIO: a hole to the end; else the file system cannot say, and all is data
    return {end - offset, errno != ENXIO};
  if (data > here) return {std::min(static_cast<std::uint64_t>(data), end) - offset, false};
  const off_t hole = ::lseek(descriptor_, here, SEEK_HOLE);
  const std::uint64_t stop = hole > here ? std::min(static_cast<std::uint64_t>(hole), end) : end;
  return {stop - offset, true};
}

std::uint64_t RealFile::allocated() const {
  struct stat status{};
  return ::fstat(descriptor_, &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * 512
                                            : 0;
}

static Result<std::shared_ptr<Storage>> open_file(const std::string& path, int flags, Flush mode,
                                                  bool locks) {
  const int descriptor =
      retry([&] { return ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0644); });
  if (descriptor < 0) return os_error(errno);
  auto file = std::make_shared<RealFile>(descriptor, mode, locks);
  struct stat status{};
  if (::fstat(descriptor, &status) < 0) return os_error(errno);
  if (S_ISDIR(status.st_mode)) return os_error(EISDIR);
  if (!S_ISREG(status.st_mode)) return os_error(EINVAL, "not a regular file");
  return std::shared_ptr<Storage>(file);
}

Result<std::shared_ptr<Storage>> RealFiles::open(const std::string& path, Access access) {
  return open_file(path, access == Access::read_only ? O_RDONLY : O_RDWR, flush_, locks_);
}

Result<std::shared_ptr<Storage>> RealFiles::create(const std::string& path) {
  return open_file(path, O_RDWR | O_CREAT | O_TRUNC, flush_, locks_);
}

Result<std::shared_ptr<Storage>> RealFiles::create_new(const std::string& path,
                                                       const std::string& like) {
  struct stat model{};
  const bool modelled = ::stat(like.c_str(), &model) == 0;
  TRY(auto file, open_file(path, O_RDWR | O_CREAT | O_EXCL, flush_, locks_));
  remember_unfinished(path);
  if (!modelled) return file;
  // Who may not give a file away keeps it, as a copy that belongs to who makes it.
  constexpr mode_t kPermissions = 0777;
  if (::lchown(path.c_str(), model.st_uid, model.st_gid) < 0 && errno != EPERM)
    return os_error(errno);
  if (::chmod(path.c_str(), model.st_mode & kPermissions) < 0) return os_error(errno);
  return file;
}

bool RealFiles::exists(const std::string& path) const {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

Result<> RealFiles::remove(const std::string& path) {
  forget_unfinished(path);
  if (::unlink(path.c_str()) < 0) return os_error(errno);
  return ok();
}

Result<> RealFiles::rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) < 0) return os_error(errno);
  forget_unfinished(from);
  return ok();
}

Result<std::string> RealFiles::canonical(const std::string& path) const {
  namespace fs = std::filesystem;
  constexpr int kLinksMax = 40;
  std::error_code error;
  fs::path named = path;
  fs::path resolved = fs::canonical(named, error);
  for (int i = 0; error.value() == ENOENT; ++i) {
    // What is not there yet may be named by a link.
    std::error_code no_link;
    const fs::path target = fs::read_symlink(named, no_link);
    if (!no_link && i == kLinksMax) return os_error(ELOOP);
    const fs::path directory = fs::canonical(named.parent_path(), error);
    if (error) break;
    if (no_link) {
      resolved = directory / named.filename();
      break;
    }
    named = directory / target;
    resolved = fs::canonical(named, error);
  }
  if (error) return os_error(error.value());
  return resolved.string();
}

std::vector<std::string> RealFiles::list(const std::string& directory) const {
  namespace fs = std::filesystem;
  std::vector<std::string> paths;
  std::error_code error;
  for (fs::recursive_directory_iterator at(directory, error), end; !error && at != end;
       at.increment(error))
    if (at->is_regular_file(error)) paths.push_back(at->path().string());
  std::ranges::sort(paths);
  return paths;
}

}  // namespace sim::storage
