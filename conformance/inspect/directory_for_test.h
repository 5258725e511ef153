// For tests: a directory of real files that qemu-img and qemu-io of this machine work on.

#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "conformance/target/files.h"

namespace conformance::inspect {

// Files over a private directory below the system's place for temporary files.
class TestDirectory final : public Files {
 public:
  TestDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "understudy-XXXXXX").string();
    path_ = ::mkdtemp(name.data()) == nullptr ? "" : name;
  }
  ~TestDirectory() override {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  std::string directory() const override { return path_; }
  std::optional<std::uint64_t> size(const std::string& path) const override {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return std::nullopt;
    return static_cast<std::uint64_t>(status.st_size);
  }
  sim::Result<> read(const std::string& path, std::uint64_t offset,
                     sim::MutableBytes into) const override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return sim::os_error(errno, path);
    while (!into.empty()) {
      const ssize_t got = ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset));
      if (got <= 0) break;
      into = into.subspan(static_cast<std::size_t>(got));
      offset += static_cast<std::uint64_t>(got);
    }
    ::close(fd);
    for (std::byte& byte : into) byte = std::byte{0};
    return sim::ok();
  }
  sim::Result<> create(const std::string& path, std::uint64_t size) override {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return sim::os_error(errno, path);
    const int failed = ::ftruncate(fd, static_cast<off_t>(size));
    ::close(fd);
    return failed == 0 ? sim::ok() : sim::Result<>(sim::os_error(errno, path));
  }
  sim::Result<> write(const std::string& path, std::uint64_t offset, sim::Bytes from) override {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) return sim::os_error(errno, path);
    const ssize_t put = ::pwrite(fd, from.data(), from.size(), static_cast<off_t>(offset));
    ::close(fd);
    return put == static_cast<ssize_t>(from.size()) ? sim::ok()
                                                    : sim::Result<>(sim::os_error(EIO, path));
  }
  sim::Result<> remove(const std::string& path) override {
    return ::unlink(path.c_str()) == 0 ? sim::ok() : sim::Result<>(sim::os_error(errno, path));
  }
  std::vector<std::string> names() const override { return {}; }

 private:
  std::string path_;
};

struct Ran {
  int status = -1;  // exit code
  std::string output;
};

// Runs a shell command; standard error is dropped.  qemu-img and qemu-io come with the package
// qemu-utils: 127 is the shell's answer if they are missing.
inline Ran run(const std::string& command) {
  Ran ran;
  std::FILE* pipe = ::popen((command + " 2>/dev/null").c_str(), "r");
  if (pipe == nullptr) return ran;
  char piece[4096];
  while (const std::size_t got = std::fread(piece, 1, sizeof(piece), pipe))
    ran.output.append(piece, got);
  const int status = ::pclose(pipe);
  ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  EXPECT_NE(ran.status, 127) << command << ": not found; install the package qemu-utils";
  return ran;
}

}  // namespace conformance::inspect
