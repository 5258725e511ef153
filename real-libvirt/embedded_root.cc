#include "real-libvirt/embedded_root.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>

namespace real_libvirt {
namespace {

namespace fs = std::filesystem;

// No user, label, group or sandbox of QEMU's own, no record of who owns what, no log daemon.
constexpr std::string_view kConfiguration = R"(user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
security_default_confined = 0
cgroup_controllers = []
namespaces = []
seccomp_sandbox = 0
max_core = 0
stdio_handler = "file"
)";

std::string shell_word(std::string_view text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

bool write_file(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  return file.good();
}

// The emulator is a script in the directory, which must be allowed to run.
std::string runnable(const std::string& place) {
  struct statvfs status{};
  const bool refused = ::statvfs(place.c_str(), &status) == 0 && (status.f_flag & ST_NOEXEC) != 0;
  return refused ? "/tmp" : place;
}

}  // namespace

std::expected<EmbeddedRoot, std::string> EmbeddedRoot::make(const std::string& place,
                                                            const std::string& program) {
  auto directory = real_qemu::PrivateDirectory::make(runnable(place));
  if (!directory) return std::unexpected(directory.error());
  EmbeddedRoot root(*std::move(directory));
  std::error_code error;
  fs::create_directory(root.path() + "/etc", error);
  fs::create_directory(root.path() + "/empty", error);
  const std::string wrapper = "#!/bin/sh\nPATH=/usr/bin:/bin\nexport PATH\nexec " +
                              shell_word(program) +
                              " \"$@\" >\"${UNDERSTUDY_CONSOLE:-/dev/null}\"\n";
  if (error || !write_file(root.path() + "/etc/qemu.conf", kConfiguration) ||
      !write_file(root.emulator(), wrapper) || ::chmod(root.emulator().c_str(), 0700) != 0)
    return std::unexpected("cannot write into " + root.path());
  return root;
}

void EmbeddedRoot::kill_all() const {
  std::error_code error;
  for (auto entry = fs::directory_iterator(path() + "/run/qemu", error);
       !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (entry->path().extension() != ".pid") continue;
    pid_t pid = 0;
    if (!(std::ifstream(entry->path()) >> pid) || pid <= 1) continue;
    // The number may be another's by now: ours has this directory in its command line.
    std::ifstream command("/proc/" + std::to_string(pid) + "/cmdline", std::ios::binary);
    const std::string line(std::istreambuf_iterator<char>(command), {});
    if (line.find(path()) != std::string::npos) ::kill(pid, SIGKILL);
  }
}

std::string last_words(const std::string& path) {
  constexpr std::size_t kMost = 2000;  // bytes
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (text.size() > kMost) text.erase(0, text.size() - kMost);
  std::string lines;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    if (end > at) lines += (lines.empty() ? "" : " | ") + text.substr(at, end - at);
    at = end + 1;
  }
  return lines;
}

}  // namespace real_libvirt
