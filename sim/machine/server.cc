#include "sim/machine/server.h"

#include <fmt/format.h>
#include <sys/signalfd.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace sim::machine {

namespace {

// So much work is done before clients are looked at again.
constexpr int kMostSteps = 10'000;
// After so many steps without a read, a write or an event the virtual clock rests until a client
// says something: a job that is ready looks after its work for ever.  One that may copy a byte a
// second needs no more for a chunk.
constexpr int kMostQuietSteps = 12'000'000;
// As of a process that ended by SIGSEGV.
constexpr int kCrashed = 139;
// So long is tried to send the last words.
constexpr int kLastWordsMs = 1'000;

std::uint64_t now_ns(clockid_t clock) {
  timespec time{};
  (void)::clock_gettime(clock, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace

Server::Server(Machine& machine, const CommandLine& line, int signals, Warn warn)
    : machine_(machine),
      line_(line),
      signals_(signals),
      warn_(warn),
      begun_ns_(now_ns(CLOCK_MONOTONIC)) {}

Server::~Server() {
  if (trace_ != nullptr) (void)std::fclose(trace_);
}

Result<> Server::open() {
  if (const std::string& path = line_.settings.trace; !path.empty()) {
    trace_ = std::fopen(path.c_str(), "we");
    if (trace_ == nullptr)
      return Error{ErrorClass::generic, fmt::format("understudy: cannot write trace '{}': {}", path,
                                                    std::strerror(errno))};
  }
  const std::uint64_t epoch =
      line_.settings.virtual_clock ? 0 : now_ns(CLOCK_REALTIME) - elapsed().ns;
  for (const Chardev& chardev : line_.chardevs) {
    auto port = Port::open(chardev, warn_);
    if (!port) return Error{ErrorClass::generic, chardev.option + ": " + port.error().desc};
    Channel& channel = channels_.emplace_back(chardev.id, *std::move(port), nullptr);
    const auto monitor = std::ranges::find(line_.monitors, chardev.id, &MonitorOption::chardev);
    if (monitor == line_.monitors.end()) continue;
    channel.monitor = std::make_unique<qmp::Monitor>(
        machine_.profile(),
        qmp::Monitor::Options{.greeting = machine_.greeting(),
                              .style = monitor->pretty ? qmp::Style::pretty : qmp::Style::line,
                              .since_epoch = {epoch},
                              .compat = line_.compat},
        [this](Json request) { return execute(std::move(request)); });
    if (channel.port.has_client()) channel.monitor->connect();
  }
  return ok();
}

Duration Server::elapsed() const { return {now_ns(CLOCK_MONOTONIC) - begun_ns_}; }

void Server::run() {
  while (!machine_.has_quit()) {
    go_on();
    for (Channel& channel : channels_) exchange(channel);
    const bool has_work = serve_requests();
    send_all();
    if (!machine_.has_quit()) wait(has_work);
  }
  end();
}

// What is due by now, or by the virtual clock, whatever comes next.
void Server::go_on() {
  Scheduler& scheduler = machine_.world().scheduler;
  const bool is_virtual = line_.settings.virtual_clock;
  const Instant limit = is_virtual ? Instant{UINT64_MAX} : Instant{} + elapsed();
  const std::uint64_t before = machine_.world().trace.hash();
  int steps = 0;
  while (steps < kMostSteps && scheduler.step(limit)) ++steps;
  quiet_steps_ = machine_.world().trace.hash() == before ? quiet_steps_ + steps : 0;
  if (!is_virtual) scheduler.advance(limit);
  tell_events();
}

void Server::tell_events() {
  while (const auto event = machine_.take_event())
    for (Channel& channel : channels_)
      if (channel.monitor) channel.monitor->tell(*event);
  print_output();
}

// As a guest's or qemu-io's words: on standard output, between the lines of a monitor there.
void Server::print_output() {
  const std::string output = machine_.take_output();
  if (output.empty()) return;
  (void)std::fwrite(output.data(), 1, output.size(), stdout);
  (void)std::fflush(stdout);
}

std::optional<Json> Server::execute(Json request) {
  go_on();
  const std::string command = request["execute"];
  auto reply = machine_.execute(std::move(request));
  const bool is_answered_first =
      machine_.profile().reply_precedes_shutdown &&
      (command == "quit" || command == "system_reset" || command == "system_powerdown");
  if (!is_answered_first) tell_events();
  if (machine_.crashed()) {
    warn_(fmt::format("understudy: QEMU {} crashes here: {}", machine_.profile().name,
                      *machine_.crashed()));
    std::_Exit(kCrashed);  // nothing is written back
  }
  if (!reply)
    warn_(
        fmt::format("understudy: {} waits for what cannot happen, and is never answered", command));
  return reply;
}

bool Server::serve_requests() {
  bool any = false;
  for (Channel& channel : channels_)
    if (channel.monitor && !machine_.has_quit()) any |= channel.monitor->step();
  tell_events();
  return any;
}

void Server::exchange(Channel& channel) {
  if (channel.port.accept() && channel.monitor) channel.monitor->connect();
  if (channel.monitor && channel.monitor->is_suspended()) return;
  const auto bytes = channel.port.receive();
  if (!bytes) {
    if (channel.monitor) channel.monitor->disconnect();
  } else if (!bytes->empty() && channel.monitor) {
    quiet_steps_ = 0;
    trace(channel, '<', *bytes);
    channel.monitor->feed(*bytes);
  }
}

void Server::send(Channel& channel) {
  if (!channel.monitor) return;
  const std::string output = channel.monitor->take_output();
  trace(channel, '>', output);
  if (!channel.port.send(output)) channel.monitor->disconnect();
}

void Server::send_all() {
  for (Channel& channel : channels_) send(channel);
}

int Server::timeout() const {
  const auto next = machine_.world().scheduler.next();
  if (!next) return -1;
  const std::uint64_t now = elapsed().ns;
  if (line_.settings.virtual_clock) return quiet_steps_ < kMostQuietSteps ? 0 : -1;
  if (next->ns <= now) return 0;
  constexpr std::uint64_t kMs = 1'000'000, kMostMs = 3'600'000;
  return static_cast<int>(std::min((next->ns - now + kMs - 1) / kMs, kMostMs));
}

void Server::wait(bool has_work) {
  std::vector<pollfd> waits = {{.fd = signals_, .events = POLLIN, .revents = 0}};
  for (const Channel& channel : channels_) {
    const bool suspended = channel.monitor && channel.monitor->is_suspended();
    channel.port.add_to(waits, !suspended);
    has_work |= suspended;
  }
  (void)::poll(waits.data(), waits.size(), has_work ? 0 : timeout());
  if (waits.front().revents != 0) end_by_signal();
}

// QEMU ends as by `quit`, and tells another reason.
void Server::end_by_signal() {
  signalfd_siginfo signal{};
  if (::read(signals_, &signal, sizeof signal) != sizeof signal) return;
  std::string sender = "<unknown process>";
  std::ifstream file(fmt::format("/proc/{}/cmdline", signal.ssi_pid));
  if (std::string text; signal.ssi_pid != 0 && std::getline(file, text, '\0')) sender = text;
  warn_(fmt::format("terminating on signal {} from pid {} ({})", signal.ssi_signo, signal.ssi_pid,
                    sender));
  go_on();
  (void)machine_.execute({{"execute", "quit"}});
  while (auto event = machine_.take_event()) {
    if (event->name == "SHUTDOWN") event->data["reason"] = "host-signal";
    for (Channel& channel : channels_)
      if (channel.monitor) channel.monitor->tell(*event);
  }
}

void Server::end() {
  tell_events();
  const std::uint64_t limit = elapsed().ns + std::uint64_t{kLastWordsMs} * 1'000'000;
  for (;;) {
    send_all();
    std::vector<pollfd> waits;
    for (const Channel& channel : channels_)
      if (channel.port.has_unsent()) channel.port.add_to(waits, false);
    if (waits.empty() || elapsed().ns >= limit) return;
    (void)::poll(waits.data(), waits.size(), kLastWordsMs / 10);
  }
}

void Server::trace(const Channel& channel, char direction, std::string_view bytes) {
  while (trace_ != nullptr && !bytes.empty()) {
    const std::size_t end = std::min(bytes.find('\n'), bytes.size());
    std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    fmt::print(trace_, "{} {} {}\n", channel.name, direction, line);
    (void)std::fflush(trace_);
  }
}

}  // namespace sim::machine
