#include "conformance/run/sim_target.h"

#include <fmt/format.h>

#include <map>

#include "conformance/run/hazards.h"

namespace conformance {

namespace {

constexpr const char* kDirectory = "/understudy";

using MemoryFiles = sim::storage::MemoryFiles;

struct Remembered final : RememberedFiles {
  explicit Remembered(const MemoryFiles& now) : files(now) {}
  bool has_changed(const std::string& path) const override {
    const auto then = copies.find(path);
    const auto now = files.find(path);
    return then != copies.end() && !(now && now->reads_as(*then->second));
  }
  const MemoryFiles& files;
  std::map<std::string, std::shared_ptr<sim::storage::MemoryFile>> copies;
};

class MemoryDirectory final : public Files {
 public:
  explicit MemoryDirectory(MemoryFiles& files) : files_(files) {}

  std::string directory() const override { return kDirectory; }
  std::optional<std::uint64_t> size(const std::string& path) const override {
    const auto file = files_.find(path);
    if (!file) return std::nullopt;
    return file->size();
  }
  sim::Result<> read(const std::string& path, std::uint64_t offset,
                     sim::MutableBytes into) const override {
    const auto file = files_.find(path);
    if (!file) return sim::os_error(ENOENT);
    file->read_now(offset, into);
    return sim::ok();
  }
  sim::Result<> visit(const std::string& path, std::uint64_t offset, std::uint64_t length,
                      const See& see) const override {
    const auto file = files_.find(path);
    if (!file) return sim::os_error(ENOENT);
    file->visit_now(offset, length, see);
    return sim::ok();
  }
  sim::Result<> create(const std::string& path, std::uint64_t size) override {
    if (path.substr(0, path.rfind('/')) != kDirectory) return sim::os_error(ENOENT);
    TRY(const auto file, files_.create(path));
    if (size > 0) files_.find(path)->truncate_now(size);
    return sim::ok();
  }
  sim::Result<> write(const std::string& path, std::uint64_t offset, sim::Bytes from) override {
    const auto file = files_.find(path);
    if (!file) return sim::os_error(ENOENT);
    file->write_now(offset, from);
    return sim::ok();
  }
  sim::Result<> remove(const std::string& path) override { return files_.remove(path); }
  std::unique_ptr<RememberedFiles> remember() const override {
    auto remembered = std::make_unique<Remembered>(files_);
    for (const std::string& path : files_.list(kDirectory))
      remembered->copies.emplace(path, files_.find(path)->copy());
    return remembered;
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const std::string& path : files_.list(kDirectory))
      names.push_back(path.substr(std::string_view(kDirectory).size() + 1));
    return names;
  }

 private:
  MemoryFiles& files_;
};

class MachineHypervisor final : public Hypervisor {
 public:
  MachineHypervisor(const std::unique_ptr<sim::machine::Machine>& machine, bool settles)
      : machine_(machine), settles_(settles) {}

  Outcome<Json> execute(std::string_view command, const Json& arguments) override {
    Json request = {{"execute", command}};
    if (!arguments.is_null()) request["arguments"] = arguments;
    std::optional<Json> reply = machine_->execute(std::move(request));
    if (machine_->crashed())
      return std::unexpected(TargetFailure{TargetFailure::Kind::crash, *machine_->crashed()});
    if (reply && settles_) machine_->settle();
    if (!reply)
      return std::unexpected(TargetFailure{
          TargetFailure::Kind::hang,
          fmt::format("no reply to {}\n{}", command, machine_->world().trace.last_lines())});
    // As the port promises: what qemu-io printed comes with the reply.
    // (What a request prints that began before comes with the first text after it.)
    if (const auto said = reply->find("return"); said != reply->end() && said->is_string())
      *said = machine_->take_output() + said->get<std::string>();
    return *std::move(reply);
  }
  Outcome<std::optional<Event>> poll_event() override { return converted(machine_->take_event()); }
  Outcome<std::optional<Event>> next_event(std::chrono::milliseconds limit) override {
    return converted(
        machine_->run_until_event(sim::milliseconds(static_cast<std::uint64_t>(limit.count()))));
  }

 private:
  static std::optional<Event> converted(std::optional<sim::qmp::Event> event) {
    if (!event) return std::nullopt;
    return Event{std::move(event->name), std::move(event->data)};
  }
  const std::unique_ptr<sim::machine::Machine>& machine_;  // as it is now
  bool settles_;
};

}  // namespace

struct SimSession::Parts {
  Parts(const sim::qmp::Profile& profile, const SessionOptions& options,
        sim::job::MirrorCanary canary)
      : hazards(files),
        directory(files),
        hypervisor(machine, options.settles),
        has_hazards(options.hazards),
        machine_options{&profile, options.seed, options.explore, canary} {
    files.restrict_to(kDirectory);
    start();
  }
  void start() {
    machine = std::make_unique<sim::machine::Machine>(
        has_hazards ? static_cast<sim::storage::FileSystem&>(hazards) : files, machine_options);
  }
  sim::storage::MemoryFiles files;
  HazardousFiles hazards;
  std::unique_ptr<sim::machine::Machine> machine;
  MemoryDirectory directory;
  MachineHypervisor hypervisor;
  bool has_hazards;
  sim::machine::MachineOptions machine_options;
  std::uint64_t ended_hash = 0;  // of the machines before
};

SimSession::SimSession(const sim::qmp::Profile& profile, const SessionOptions& options,
                       sim::job::MirrorCanary canary)
    : parts_(std::make_unique<Parts>(profile, options, canary)) {}
SimSession::~SimSession() = default;
Hypervisor& SimSession::hypervisor() { return parts_->hypervisor; }
Files& SimSession::files() { return parts_->directory; }
std::uint64_t SimSession::trace_hash() const {
  return parts_->ended_hash ^ (parts_->machine ? parts_->machine->world().trace.hash() : 0);
}
std::optional<std::string> SimSession::inject(const FileFault& fault) {
  parts_->hazards.inject(fault);
  return std::nullopt;
}
Outcome<void> SimSession::restart() {
  if (auto ended = end(); !ended) return ended;
  parts_->start();
  auto negotiated = parts_->hypervisor.execute("qmp_capabilities", nullptr);
  if (!negotiated) return std::unexpected(std::move(negotiated).error());
  return {};
}
Outcome<void> SimSession::end() {
  const auto& machine = parts_->machine;
  if (machine && !machine->crashed() && !machine->has_quit())
    (void)machine->execute({{"execute", "quit"}});
  if (machine)
    parts_->ended_hash = parts_->ended_hash * 0x100000001b3U + machine->world().trace.hash();
  parts_->machine.reset();
  return {};
}
Outcome<void> SimSession::cut_power() {
  if (const auto cut = parts_->hazards.cut_power(parts_->machine_options.seed); !cut)
    return std::unexpected(TargetFailure{TargetFailure::Kind::harness, cut.error().desc});
  return {};
}
sim::storage::MemoryFiles& SimSession::storage() { return parts_->files; }

std::string SimTarget::version() const {
  return fmt::format("simulated {}.{}.{} ({})", profile_.major, profile_.minor, profile_.micro,
                     profile_.package);
}

Outcome<std::unique_ptr<Session>> SimTarget::open(const SessionOptions& options) {
  auto session = std::make_unique<SimSession>(profile_, options, canary_);
  if (auto negotiated = session->hypervisor().execute("qmp_capabilities", nullptr); !negotiated)
    return std::unexpected(std::move(negotiated).error());
  return session;
}

}  // namespace conformance
