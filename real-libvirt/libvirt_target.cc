#include "real-libvirt/libvirt_target.h"

#include <unistd.h>

#include <filesystem>
#include <utility>

#include "real-libvirt/libvirt_domain.h"
#include "real-qemu/posix_files.h"

namespace real_libvirt {
namespace {

using conformance::DomainApi;
using conformance::DomainDefinition;
using conformance::Event;
using std::chrono::milliseconds;

std::unexpected<TargetFailure> harness_failure(std::string detail) {
  return std::unexpected(
      TargetFailure{.kind = TargetFailure::Kind::harness, .detail = std::move(detail)});
}

std::unexpected<TargetFailure> missing(const std::string& why) {
  return harness_failure(
      "no libvirt here: " + why +
      "; install it: ./dev setup (apt-get install libvirt-daemon-driver-qemu libvirt-dev, and a "
      "system user libvirt-qemu), and build again");
}

std::string beside_us() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return (self.parent_path() / "understudy-libvirt").string();
}

}  // namespace

class LibvirtTarget::LibvirtSession final : public conformance::Session, conformance::Hypervisor {
 public:
  LibvirtSession(LibvirtTarget& target, std::string domain, real_qemu::PrivateDirectory directory)
      : target_(target),
        domain_(std::move(domain)),
        directory_(std::move(directory)),
        files_(directory_.path()) {}

  ~LibvirtSession() override {
    const bool ended = client().end_domain().has_value();
    std::error_code ignored;
    std::filesystem::remove(client().root().log(domain_), ignored);
    target_.in_session_ = false;
    if (!ended || !client().usable()) target_.client_.reset();
  }

  conformance::Hypervisor& hypervisor() override { return *this; }
  conformance::Files& files() override { return files_; }

  std::optional<DomainResult<std::unique_ptr<DomainApi>>> start_domain(
      const DomainDefinition& definition, conformance::Transcript& transcript) override {
    auto started = client().start_domain(domain_, definition, transcript);
    if (!started) return std::unexpected(started.error());
    return std::make_unique<LibvirtDomain>(client());
  }

  std::optional<std::string> inject(const conformance::FileFault& /*fault*/) override {
    return "libvirt opens no node of QEMU's with blkdebug, so no request can be made to fail";
  }
  Outcome<void> end() override { return client().end_domain(); }
  Outcome<void> cut_power() override { return end(); }  // QEMU is killed

 private:
  ClientProcess& client() { return *target_.client_; }

  Outcome<Json> execute(std::string_view command, const Json& arguments) override {
    return client().execute(command, arguments);
  }
  Outcome<std::optional<Event>> poll_event() override { return next_event(milliseconds(0)); }
  Outcome<std::optional<Event>> next_event(milliseconds limit) override {
    return client().next_monitor_event(limit);
  }

  LibvirtTarget& target_;
  std::string domain_;
  real_qemu::PrivateDirectory directory_;
  real_qemu::PosixFiles files_;
};

LibvirtTarget::LibvirtTarget(std::string spec, std::string emulator, LibvirtOptions options)
    : name_(std::move(spec)), emulator_(std::move(emulator)), options_(std::move(options)) {}

LibvirtTarget::~LibvirtTarget() = default;

std::expected<std::unique_ptr<LibvirtTarget>, TargetFailure> LibvirtTarget::find(
    std::string spec, LibvirtOptions options) {
  if (spec != "libvirt" && !spec.starts_with("libvirt:"))
    return harness_failure("'" + spec + "' names no libvirt");
  auto place = real_qemu::locate("qemu" + spec.substr(7), options.places);
  if (!place) return harness_failure(place.error());
  if (options.client.empty()) options.client = beside_us();
  if (::access(options.client.c_str(), X_OK) != 0)
    return missing(options.client + " was not built");
  std::unique_ptr<LibvirtTarget> target(
      new LibvirtTarget(std::move(spec), std::move(place->program), std::move(options)));
  if (auto started = target->start(); !started) return missing(started.error().detail);
  target->libvirt_version_ = target->client_->version();
  target->qemu_version_ = real_qemu::announced_version(target->emulator_);
  return target;
}

std::string LibvirtTarget::version() const {
  return "libvirt " + libvirt_version_ + ", QEMU " + qemu_version_;
}

std::string LibvirtTarget::release() const { return real_qemu::release_of(qemu_version_); }

Outcome<void> LibvirtTarget::start() {
  auto client = ClientProcess::start(options_.client, emulator_, options_.scratch, options_.limits);
  if (!client) return std::unexpected(client.error());
  client_ = *std::move(client);
  return {};
}

Outcome<std::unique_ptr<conformance::Session>> LibvirtTarget::open(
    const conformance::SessionOptions& /*options*/) {
  if (in_session_) return harness_failure("the target's last session has not ended");
  if (!client_)
    if (auto started = start(); !started) return std::unexpected(started.error());
  const std::string number = std::to_string(++sessions_);
  auto directory = real_qemu::PrivateDirectory::make_at(client_->root().path() + "/" + number);
  if (!directory) return harness_failure(directory.error());
  in_session_ = true;
  return std::make_unique<LibvirtSession>(*this, "scenario-" + number, std::move(*directory));
}

}  // namespace real_libvirt
