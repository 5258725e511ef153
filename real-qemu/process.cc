#include "real-qemu/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace real_qemu {
namespace {

using std::chrono::milliseconds;

// Nothing that could differ from run to run, and nothing that costs time: measured on 7.2, this
// greets in 14 ms; less memory or another accelerator gain nothing (`qtest` is not in every build,
// and throttling behaves differently under it; `kvm` makes each reset 40 ms slower).
std::vector<std::string> command_line(int monitor, const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"-S",
                                        "-nodefaults",
                                        "-no-user-config",
                                        "-display",
                                        "none",
                                        "-machine",
                                        "pc",
                                        "-accel",
                                        "tcg",
                                        "-m",
                                        "16",
                                        "-chardev",
                                        "socket,id=monitor,fd=" + std::to_string(monitor),
                                        "-qmp",
                                        "chardev:monitor"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::unexpected<TargetFailure> harness_failure(std::string detail) {
  return std::unexpected(
      TargetFailure{.kind = TargetFailure::Kind::harness, .detail = std::move(detail)});
}

std::string system_failure(std::string_view what) {
  return std::string(what) + ": " + std::strerror(errno);
}

}  // namespace

Process::Process(const ProcessOptions& options, PrivateDirectory directory, Console console,
                 Descriptor monitor)
    : program_(options.program),
      limits_(options.limits),
      directory_(std::move(directory)),
      console_(std::move(console)),
      qmp_(std::move(monitor), options.limits.reply, &console_),
      printed_(console_, options.limits.reply,
               [this](const Json& line) { return qmp_.execute("human-monitor-command", line); }) {}

Outcome<std::unique_ptr<Process>> Process::start(const ProcessOptions& options) {
  auto directory = PrivateDirectory::make(options.place);
  if (!directory) return harness_failure(directory.error());
  auto console = Console::open();
  if (!console) return harness_failure(console.error());
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return harness_failure(system_failure("cannot make a socket pair"));
  Descriptor ours(ends[0]);
  Descriptor theirs(ends[1]);
  std::unique_ptr<Process> process(
      new Process(options, std::move(*directory), std::move(console->ours), std::move(ours)));
  const Descriptor errors(
      ::open(process->errors_file().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!errors) return harness_failure(system_failure("cannot write " + process->errors_file()));
  auto child = Child::start({.program = std::filesystem::absolute(options.program),
                             .arguments = command_line(theirs.get(), options.arguments),
                             .directory = process->directory(),
                             .output = console->theirs.get(),
                             .errors = errors.get(),
                             .inherited = theirs.get()});
  if (!child) return harness_failure("cannot start " + options.program + ": " + child.error());
  process->child_ = std::move(*child);
  theirs.close();
  console->theirs.close();
  if (auto ready = process->qmp_.negotiate(options.limits.start); !ready) {
    auto failure = process->explained(ready.error()).error();
    return harness_failure("QEMU did not start: " + failure.detail);
  }
  return process;
}

Process::~Process() {
  if (!child_) return;
  (void)quit();
  child_->kill();
}

Outcome<void> Process::quit() {
  qmp_.limit_replies(limits_.end);
  const bool asked = usable() && qmp_.execute("quit", nullptr).has_value();
  if ((asked || qmp_.quitting()) && child_->ended_within(limits_.end)) return {};
  return std::unexpected(TargetFailure{TargetFailure::Kind::hang, "it does not quit"});
}

Outcome<Json> Process::execute(std::string_view command, const Json& arguments) {
  if (failure_) return std::unexpected(*failure_);
  auto reply = qmp_.execute(command, arguments);
  if (!reply) return explained(reply.error());
  if (auto added = printed_.add(command, arguments, *reply); !added)
    return explained(added.error());
  return reply;
}

Outcome<std::optional<Event>> Process::poll_event() { return next_event(milliseconds(0)); }

Outcome<std::optional<Event>> Process::next_event(milliseconds limit) {
  auto event = qmp_.next_event(limit);
  if (!event) return explained(event.error());
  return event;
}

void Process::forget_output() {
  console_.drain();
  (void)console_.take_text();
  struct stat status{};
  if (::stat(errors_file().c_str(), &status) == 0)
    errors_from_ = static_cast<std::uint64_t>(status.st_size);
}

std::unexpected<TargetFailure> Process::explained(TargetFailure failure) {
  if (failure_) return std::unexpected(*failure_);
  const std::string name = std::filesystem::path(program_).filename();
  if (failure.kind == TargetFailure::Kind::crash && child_->ended_within(limits_.end))
    failure.detail = name + " " + child_->how_it_is();
  else
    failure.detail = name + " (" + child_->how_it_is() + "): " + failure.detail;
  if (const std::string words = last_words(); !words.empty())
    failure.detail += "; it said: " + words;
  failure_ = std::move(failure);
  return std::unexpected(*failure_);
}

std::string Process::last_words() const {
  constexpr std::uint64_t kMost = 2000;  // bytes
  const Descriptor file(::open(errors_file().c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status{};
  if (!file || ::fstat(file.get(), &status) != 0) return {};
  const auto size = static_cast<std::uint64_t>(status.st_size);
  const auto from = std::max(errors_from_, size - std::min(size, kMost));
  std::string text(size - std::min(size, from), '\0');
  const ssize_t got = ::pread(file.get(), text.data(), text.size(), static_cast<off_t>(from));
  text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  std::string lines;  // joined by " | "
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    if (end > at) lines += (lines.empty() ? "" : " | ") + text.substr(at, end - at);
    at = end + 1;
  }
  return lines;
}

}  // namespace real_qemu
