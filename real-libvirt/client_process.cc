#include "real-libvirt/client_process.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace real_libvirt {
namespace {

using conformance::BlockJobEvent;
using conformance::DomainError;
using conformance::Event;
using conformance::TranscriptEntry;
using real_qemu::Descriptor;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

std::unexpected<TargetFailure> harness_failure(std::string detail) {
  return std::unexpected(
      TargetFailure{.kind = TargetFailure::Kind::harness, .detail = std::move(detail)});
}

std::string name_of_terminal(const Descriptor& terminal) {
  std::array<char, 64> name{};
  return ::ttyname_r(terminal.get(), name.data(), name.size()) == 0 ? name.data() : "";
}

DomainError to_error(const Json& error) {
  return {error.value("domain", ""), error.value("code", ""), error.value("message", "")};
}

// What libvirt says of a call whose QEMU ended meanwhile, or before.
bool tells_of_an_end(const DomainError& error) {
  for (const char* text : {"from monitor", "qemu monitor", "domain is no longer running",
                           "domain is not running", "Domain not found", "no domain with matching"})
    if (error.message.contains(text)) return true;
  return false;
}

}  // namespace

ClientProcess::ClientProcess(EmbeddedRoot root, real_qemu::Console::Ends console, Descriptor socket,
                             const ClientLimits& limits)
    : root_(std::move(root)),
      console_(std::move(console.ours)),
      terminal_(std::move(console.theirs)),
      limits_(limits),
      qmp_(std::move(socket), limits.reply, &console_),
      printed_(console_, limits.reply,
               [this](const Json& line) { return monitor_command("human-monitor-command", line); }),
      log_(root_.monitor_log()) {}

Outcome<std::unique_ptr<ClientProcess>> ClientProcess::start(const std::string& client,
                                                             const std::string& emulator,
                                                             const std::string& place,
                                                             const ClientLimits& limits) {
  auto root = EmbeddedRoot::make(place, emulator);
  if (!root) return harness_failure(root.error());
  auto console = real_qemu::Console::open();
  if (!console) return harness_failure(console.error());
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return harness_failure(std::string("cannot make a socket pair: ") + std::strerror(errno));
  Descriptor ours(ends[0]);
  Descriptor theirs(ends[1]);
  const Descriptor errors(
      ::open(root->errors().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!errors) return harness_failure("cannot write " + root->errors());
  std::unique_ptr<ClientProcess> process(
      new ClientProcess(*std::move(root), *std::move(console), std::move(ours), limits));
  auto child =
      real_qemu::Child::start({.program = client,
                               .arguments = {std::to_string(theirs.get()), process->root_.path()},
                               .directory = process->root_.path(),
                               .output = errors.get(),
                               .errors = errors.get(),
                               .inherited = theirs.get()});
  if (!child) return harness_failure("cannot start " + client + ": " + child.error());
  process->child_ = *std::move(child);
  theirs.close();  // so that a client that cannot even be loaded is seen by its end
  if (auto opened = process->open(); !opened) return std::unexpected(opened.error());
  return process;
}

Outcome<void> ClientProcess::open() {
  auto ready = qmp_.negotiate(limits_.start);
  if (!ready) return harness_failure(explained(ready.error()).error().detail);
  const auto opened = request("open", Json::object());
  if (!opened) return std::unexpected(opened.error());
  if (opened->contains("error"))
    return harness_failure("libvirt does not open its QEMU driver: " +
                           (*opened)["error"].value("message", ""));
  return {};
}

ClientProcess::~ClientProcess() {
  if (!child_) return;
  qmp_.limit_replies(limits_.end);
  const bool ends = usable() && qmp_.execute("quit", nullptr).has_value();
  child_->ended_within(ends ? limits_.end : milliseconds(0));
  child_->kill();
  root_.kill_all();
}

// --- the domain's life ---------------------------------------------------------------------------

DomainResult<void> ClientProcess::start_domain(const std::string& name,
                                               const conformance::DomainDefinition& definition,
                                               conformance::Transcript& transcript) {
  domain_ = name;
  Json disks = Json::array();
  for (const conformance::DiskDefinition& disk : definition.disks)
    disks.push_back({{"target", disk.target}, {"path", disk.path}, {"format", disk.format}});
  auto started = ask("start", {{"domain", name},
                               {"emulator", root_.emulator()},
                               {"console", name_of_terminal(terminal_)},
                               {"pid-file", root_.pid_file(name)},
                               {"persistent", definition.persistent},
                               {"disks", std::move(disks)}});
  if (!started) return std::unexpected(started.error());
  log_.clear();  // how it is started is libvirt's matter
  transcript_ = &transcript;
  return {};
}

Outcome<void> ClientProcess::end_domain() {
  transcript_ = nullptr;
  if (domain_.empty()) return {};
  const auto ended = request("destroy", Json::object());
  domain_.clear();
  stopped_ = false;
  events_.clear();
  qmp_.drop_events();
  log_.clear();
  console_.drain();
  (void)console_.take_text();
  if (!ended) return std::unexpected(ended.error());
  return {};
}

// --- asking --------------------------------------------------------------------------------------

Outcome<Json> ClientProcess::request(std::string_view name, const Json& arguments) {
  if (failure_) return std::unexpected(*failure_);
  auto reply = qmp_.execute(name, arguments);
  if (!reply) return explained(reply.error());
  return reply;
}

DomainResult<Json> ClientProcess::ask(std::string_view name, const Json& arguments) {
  auto reply = request(name, arguments);
  if (!reply) return std::unexpected(reply.error());
  (void)write_down(false);
  if (!reply->contains("error")) return reply->value("return", Json::object());
  DomainError error = to_error((*reply)["error"]);
  if (tells_of_an_end(error) && name != "start") {
    stopped_ = true;
    return std::unexpected(gone());
  }
  return std::unexpected(std::move(error));
}

std::unexpected<TargetFailure> ClientProcess::explained(TargetFailure failure) {
  if (failure_) return std::unexpected(*failure_);
  // What concerns the client is never the hypervisor's doing, but that it does not answer may be.
  const bool ended = child_->ended_within(
      failure.kind == TargetFailure::Kind::crash ? limits_.end : milliseconds(0));
  if (failure.kind != TargetFailure::Kind::hang || ended)
    failure.kind = TargetFailure::Kind::harness;
  failure.detail = "libvirt's client (" + child_->how_it_is() + "): " + failure.detail;
  if (const std::string words = last_words(root_.errors()); !words.empty())
    failure.detail += "; it said: " + words;
  failure_ = std::move(failure);
  return std::unexpected(*failure_);
}

TargetFailure ClientProcess::gone() const {
  return {.kind = TargetFailure::Kind::crash,
          .detail = "the domain's QEMU ended; its log: " + last_words(root_.log(domain_))};
}

// --- the monitor ---------------------------------------------------------------------------------

Outcome<Json> ClientProcess::monitor_command(std::string_view command, const Json& arguments) {
  if (domain_.empty()) return harness_failure("libvirt: there is no domain to send commands to");
  Json message = {{"execute", command}};
  if (!arguments.is_null()) message["arguments"] = arguments;
  auto reply = request("monitor",
                       {{"command", message.dump(-1, ' ', false, Json::error_handler_t::ignore)}});
  if (!reply) return reply;
  if (reply->contains("error")) {
    const DomainError error = to_error((*reply)["error"]);
    if (tells_of_an_end(error)) return std::unexpected(gone());
    return harness_failure("libvirt does not send " + std::string(command) + ": " + error.message);
  }
  Json answer = reply->value("return", Json::object());
  log_.ignore(answer.value("id", ""));
  answer.erase("id");
  return answer;
}

Outcome<Json> ClientProcess::execute(std::string_view command, const Json& arguments) {
  auto reply = monitor_command(command, arguments);
  if (!reply) return reply;
  if (auto added = printed_.add(command, arguments, *reply); !added)
    return std::unexpected(added.error());
  return reply;
}

std::optional<Event> ClientProcess::write_down(bool until_event) {
  while (transcript_ != nullptr) {
    auto entry = log_.take();
    if (!entry) break;
    if (until_event && entry->kind == TranscriptEntry::Kind::event)
      return Event{.name = std::move(entry->name), .data = std::move(entry->content)};
    transcript_->push_back(*std::move(entry));
  }
  return std::nullopt;
}

// --- events --------------------------------------------------------------------------------------

Outcome<bool> ClientProcess::take_event(milliseconds limit) {
  auto event = qmp_.next_event(limit);
  if (!event) return explained(event.error());
  if (!*event) return false;
  const Json& data = (*event)->data;
  // A revert ends QEMU, and starts it anew.
  constexpr int kFromSnapshot = 6;  // VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT
  if ((*event)->name == "STOPPED" && data.value("domain", "") == domain_ &&
      data.value("detail", 0) != kFromSnapshot)
    stopped_ = true;
  if ((*event)->name == "BLOCK_JOB")
    events_.push_back({data.value("disk", ""), data.value("path", ""), data.value("type", ""),
                       data.value("status", "")});
  return true;
}

DomainResult<std::optional<BlockJobEvent>> ClientProcess::next_event(milliseconds limit) {
  if (events_.empty()) {
    // What libvirt knows now comes before the answer.
    if (auto settled = request("settle", Json::object()); !settled)
      return std::unexpected(settled.error());
  }
  const auto deadline = Clock::now() + limit;
  auto left = milliseconds(0);
  while (true) {
    auto taken = take_event(left);
    if (!taken) return std::unexpected(taken.error());
    left = milliseconds(0);  // what has come is taken whole
    if (*taken) continue;
    if (!events_.empty() || stopped_ || Clock::now() >= deadline) break;
    left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
  }
  (void)write_down(false);
  if (events_.empty()) {
    if (stopped_) return std::unexpected(gone());
    return std::nullopt;
  }
  BlockJobEvent event = std::move(events_.front());
  events_.pop_front();
  return event;
}

Outcome<std::optional<Event>> ClientProcess::next_monitor_event(milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  while (true) {
    if (auto event = write_down(true)) return event;
    if (stopped_) return std::unexpected(gone());
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (left <= milliseconds(0)) return std::nullopt;
    // The client tells of every event of QEMU, after libvirt has logged it.
    if (auto taken = take_event(left); !taken) return std::unexpected(taken.error());
  }
}

}  // namespace real_libvirt
