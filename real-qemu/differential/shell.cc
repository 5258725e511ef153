#include "real-qemu/differential/shell.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace differential {

namespace {

// A nameless file that takes a stream, so that no pipe can fill up.
class Catch {
 public:
  Catch() : descriptor_(static_cast<int>(::syscall(SYS_memfd_create, "out", 1U))) {}
  ~Catch() { ::close(descriptor_); }
  Catch(const Catch&) = delete;
  Catch& operator=(const Catch&) = delete;
  int descriptor() const { return descriptor_; }
  std::string text() const {
    std::string all;
    char buffer[65536];
    for (off_t at = 0;;) {
      const ssize_t got = ::pread(descriptor_, buffer, sizeof(buffer), at);
      if (got <= 0 || all.size() > (std::size_t{64} << 20)) return all;
      all.append(buffer, static_cast<std::size_t>(got));
      at += got;
    }
  }

 private:
  int descriptor_;
};

[[noreturn]] void become(std::vector<char*> arguments, const std::string& directory, int out,
                         int err, const Limits& limits) {
  ::setsid();
  const int nothing = ::open("/dev/null", O_RDONLY);
  if (::chdir(directory.c_str()) != 0 || nothing < 0) ::_exit(127);
  ::dup2(nothing, 0);
  ::dup2(out, 1);
  ::dup2(err, 2);
  const rlimit no_core = {.rlim_cur = 0, .rlim_max = 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  const rlimit file = {.rlim_cur = limits.file_bytes, .rlim_max = limits.file_bytes};
  if (limits.file_bytes > 0) ::setrlimit(RLIMIT_FSIZE, &file);
  ::execvp(arguments.front(), arguments.data());
  ::_exit(127);
}

}  // namespace

Ran run_program(const std::vector<std::string>& command, const std::string& directory,
                const Limits& limits) {
  Ran ran;
  const Catch out, err;
  std::vector<std::string> copy = command;
  std::vector<char*> arguments;
  for (std::string& argument : copy) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) become(arguments, directory, out.descriptor(), err.descriptor(), limits);
  if (child < 0) return ran;
  const int pid_fd = static_cast<int>(::syscall(SYS_pidfd_open, child, 0U));
  pollfd ended = {.fd = pid_fd, .events = POLLIN, .revents = 0};
  const auto milliseconds = std::chrono::milliseconds(limits.time).count();
  int polled = 0;
  do polled = ::poll(&ended, 1, static_cast<int>(milliseconds));
  while (polled < 0 && errno == EINTR);
  ::close(pid_fd);
  ran.hung = polled == 0;
  if (ran.hung) ::kill(-child, SIGKILL);
  int status = 0;
  rusage usage{};
  if (::wait4(child, &status, 0, &usage) != child) return ran;
  ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  ran.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  ran.resident_kib = static_cast<std::uint64_t>(usage.ru_maxrss);
  ran.out = out.text();
  ran.err = err.text();
  return ran;
}

Ran run_shell(const std::vector<std::string>& lines, const std::string& directory,
              const std::map<std::string, std::string>& variables) {
  std::vector<std::string> command = {"env"};
  for (const auto& [name, value] : variables) command.push_back(name + "=" + value);
  std::string script;
  for (const std::string& line : lines) script += line + "\n";
  command.insert(command.end(), {"sh", "-e", "-c", script});
  return run_program(command, directory);
}

std::string until_measured(const std::string& line) {
  return "n=0; until " + line + "; do n=$((n + 1)); [ $n -lt 200 ] || exit 1; done";
}

}  // namespace differential
