#include "sim/machine/program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "sim/machine/command_line.h"
#include "sim/machine/descriptor.h"
#include "sim/machine/machine.h"
#include "sim/machine/server.h"
#include "sim/storage/file.h"

namespace sim::machine {

namespace {

// QEMU's lines begin with the name it was started under; under a name of ours, with QEMU's own.
std::string program_name = "qemu-system-x86_64";  // NOLINT: set once, before anything is said

void warn(const std::string& line) { fmt::print(stderr, "{}: {}\n", program_name, line); }

int fail(const Error& error) {
  warn(error.desc);
  return 1;
}

Descriptor ending_signals() {
  sigset_t signals{};
  (void)sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) (void)sigaddset(&signals, signal);
  (void)sigprocmask(SIG_BLOCK, &signals, nullptr);
  (void)std::signal(SIGPIPE, SIG_IGN);
  (void)std::signal(SIGXFSZ, SIG_IGN);  // a write beyond the limit of the process is an error
  return Descriptor(::signalfd(-1, &signals, SFD_CLOEXEC));
}

class Pidfile {
 public:
  Pidfile() = default;
  Pidfile(const Pidfile&) = delete;
  Pidfile& operator=(const Pidfile&) = delete;
  ~Pidfile() {
    if (!path_.empty()) (void)::unlink(path_.c_str());
  }
  Result<> write(const std::string& path, const Profile& profile) {
    const Descriptor file(::open(path.c_str(), O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600));
    const std::string text = fmt::format("{}\n", ::getpid());
    if (!file || ::write(file.get(), text.data(), text.size()) != ssize_t(text.size()))
      return Error{ErrorClass::generic, fmt::format("cannot create PID file: {}: {}",
                                                    profile.pidfile_error_names_file
                                                        ? fmt::format("Could not create '{}'", path)
                                                        : "Cannot open pid file",
                                                    std::strerror(errno))};
    path_ = path;
    return ok();
  }

 private:
  std::string path_;
};

// The parent's side of -daemonize: waits until the child is ready, or has failed.
class Daemon {
 public:
  // In the parent, its exit code; nothing in the child.
  std::optional<int> split() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return 1;
    Descriptor read_end(ends[0]);
    ready_ = Descriptor(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) return 1;
    if (child == 0) {
      (void)::setsid();
      return std::nullopt;
    }
    ready_.close();
    char byte = 0;
    while (::read(read_end.get(), &byte, 1) < 0 && errno == EINTR) {
    }
    return byte == 'r' ? 0 : 1;
  }
  // In the child: lets go of the terminal, and of the parent.
  void ready() {
    if (!ready_) return;
    const Descriptor nowhere(::open("/dev/null", O_RDWR | O_CLOEXEC));
    for (int fd = 0; fd <= 2; ++fd) (void)::dup2(nowhere.get(), fd);
    (void)!::chdir("/");
    (void)!::write(ready_.get(), "r", 1);
    ready_.close();
  }

 private:
  Descriptor ready_;
};

Result<> create(Machine& machine, const std::vector<Creation>& creations, const char* command) {
  for (const Creation& creation : creations) {
    machine.take_properties_as_text(!creation.is_json);
    const auto reply = machine.execute({{"execute", command}, {"arguments", creation.arguments}});
    if (!reply) return Error{ErrorClass::generic, creation.option + ": understudy: never answered"};
    if (reply->contains("error"))
      return Error{ErrorClass::generic,
                   creation.option + ": " + (*reply)["error"]["desc"].get<std::string>()};
  }
  return ok();
}

Result<> furnish(Machine& machine, const CommandLine& line) {
  (void)machine.execute({{"execute", "qmp_capabilities"}});
  TRY_OK(create(machine, line.objects, "object-add"));
  TRY_OK(create(machine, line.blockdevs, "blockdev-add"));
  for (const Creation& drive : line.drives)
    if (auto added = machine.add_drive(drive.arguments); !added)
      return Error{ErrorClass::generic, drive.option + ": " + added.error().desc};
  TRY_OK(create(machine, line.devices, "device_add"));
  machine.take_properties_as_text(false);
  if (!line.starts_paused) {
    const auto reply = machine.execute({{"execute", "cont"}});
    if (reply && reply->contains("error"))
      warn("warning: it stays as with -S: " + (*reply)["error"]["desc"].get<std::string>());
  }
  while (machine.take_event()) {  // nobody could have heard them
  }
  return ok();
}

}  // namespace

int run_program(const std::string& program, std::span<const std::string> arguments) {
  if (const std::string name = program.substr(program.rfind('/') + 1); name.starts_with("qemu"))
    program_name = name;
  const char* const environment = std::getenv("UNDERSTUDY_OPTIONS");
  CommandLine line;
  const auto read = read_command_line(line, arguments, environment == nullptr ? "" : environment);
  for (const std::string& warning : line.warnings) warn(warning);
  if (!read) return fail(read.error());
  if (!line.answer.empty()) {
    fmt::print("{}", line.answer);
    return 0;
  }
  Daemon daemon;
  if (line.daemonizes)
    if (const auto code = daemon.split()) return *code;
  const Descriptor signals = ending_signals();
  Pidfile pidfile;
  if (!line.pidfile.empty())
    if (const auto written = pidfile.write(line.pidfile, *line.settings.profile); !written)
      return fail(written.error());
  storage::RealFiles files;
  std::vector<std::string> monitors;
  for (const MonitorOption& monitor : line.monitors) monitors.push_back(monitor.chardev);
  Machine machine(files, {.profile = line.settings.profile,
                          .seed = line.settings.seed,
                          .compat = line.compat,
                          .can_suspend = !line.has_cpu_limit,
                          .monitors = std::move(monitors)});
  Server server(machine, line, signals.get(), warn);
  if (const auto opened = server.open(); !opened) return fail(opened.error());
  if (const auto furnished = furnish(machine, line); !furnished) return fail(furnished.error());
  daemon.ready();
  server.run();
  return 0;
}

}  // namespace sim::machine
