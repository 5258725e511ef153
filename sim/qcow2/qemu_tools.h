// For the tests of this room: the real qemu-img and qemu-io, and files for them to work on.

#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/storage/memory.h"
#include "sim/world/world.h"

namespace sim::qcow2::testing {

// A private directory, gone with the object; in memory where there is such a place, because the
// real programs wait for the disk.
class Directory {
 public:
  Directory() {
    const std::filesystem::path memory = "/dev/shm";
    const bool usable =
        std::filesystem::is_directory(memory) && ::access(memory.c_str(), W_OK) == 0;
    const std::filesystem::path parent = usable ? memory : std::filesystem::temp_directory_path();
    std::string name = (parent / "qcow2-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Ran {
  int status = -1;
  std::string output;  // both streams
};

// Where local time is UTC.
inline Ran run_once(const std::string& command) {
  Ran ran;
  FILE* pipe = ::popen(("export TZ=UTC0; " + command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return ran;
  char buffer[4096];
  while (const std::size_t got = std::fread(buffer, 1, sizeof(buffer), pipe))
    ran.output.append(buffer, got);
  const int status = ::pclose(pipe);
  ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  return ran;
}

// Runs a command by the shell.  Whenever QEMU makes a key it measures the processor, and where the
// system counts time coarsely it mostly fails at that; one of the next times it can.
inline Ran run_command(const std::string& command) {
  Ran ran = run_once(command);
  for (int i = 0; i < 1000 && ran.status != 0; ++i) {
    if (ran.output.find("Unable to get accurate CPU usage") == std::string::npos) break;
    ran = run_once(command);
  }
  return ran;
}

// Tests of this fixture compare with the real programs and fail without them.
class WithQemu : public ::testing::Test {
 protected:
  void SetUp() override {
    static const bool found = run_command("qemu-img --version").status == 0 &&
                              run_command("qemu-io --version").status == 0;
    ASSERT_TRUE(found) << "qemu-img and qemu-io are needed: install the package qemu-utils";
  }

  // Runs a program that must succeed.
  std::string must(const std::string& command) const {
    const Ran ran = run_command("cd " + directory_.path() + " && " + command);
    EXPECT_EQ(ran.status, 0) << command << "\n" << ran.output;
    return ran.output;
  }

  // `qemu-img create -f qcow2`.
  std::string must_create(const std::string& arguments) const {
    return must("qemu-img create -q -f qcow2 " + arguments);
  }

  Directory directory_;
  World world_{1};
};

inline std::vector<std::byte> contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

inline void save(const storage::MemoryFile& file, const std::string& path) {
  std::ofstream out(path, std::ios::binary);
  std::vector<std::byte> buffer(1 << 16);
  for (std::uint64_t at = 0; at < file.size();) {  // holes stay holes
    const storage::Extent extent = file.extent_at(at);
    const std::uint64_t part = std::min<std::uint64_t>(extent.length, buffer.size());
    if (extent.data) {
      file.read_now(at, MutableBytes(buffer).first(part));
      out.seekp(static_cast<std::streamoff>(at));
      out.write(reinterpret_cast<const char*>(buffer.data()), static_cast<std::streamsize>(part));
    }
    at += extent.data ? part : extent.length;
  }
  out.close();
  std::filesystem::resize_file(path, file.size());
}

// Where a file in memory and one on disk differ, in words; empty if they are the same.
inline std::string difference(const storage::MemoryFile& ours, const std::string& path) {
  const std::uint64_t size = std::filesystem::file_size(path);
  if (ours.size() != size)
    return "length " + std::to_string(ours.size()) + ", QEMU's " + std::to_string(size);
  std::ifstream in(path, std::ios::binary);
  std::vector<std::byte> left(1 << 16), right(1 << 16);
  for (std::uint64_t at = 0; at < size; at += left.size()) {
    const std::uint64_t part = std::min<std::uint64_t>(size - at, left.size());
    ours.read_now(at, MutableBytes(left).first(part));
    in.read(reinterpret_cast<char*>(right.data()), static_cast<std::streamsize>(part));
    for (std::uint64_t i = 0; i < part; ++i) {
      if (left[i] == right[i]) continue;
      char text[100];
      std::snprintf(text, sizeof(text), "byte %#llx: %02x, QEMU's %02x",
                    static_cast<unsigned long long>(at + i), std::to_integer<unsigned>(left[i]),
                    std::to_integer<unsigned>(right[i]));
      return text;
    }
  }
  return {};
}

}  // namespace sim::qcow2::testing
