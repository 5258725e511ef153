// Real libvirt with a real QEMU as a target that scenarios run against.

#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>

#include "conformance/target/target.h"
#include "real-libvirt/client_process.h"
#include "real-qemu/directory.h"
#include "real-qemu/installed.h"

namespace real_libvirt {

struct LibvirtOptions {
  real_qemu::Places places;  // where QEMU is looked for
  ClientLimits limits;
  std::string scratch = real_qemu::scratch_place();  // where private directories are made
  std::string client;  // the program; empty: understudy-libvirt beside the running program
};

// libvirt's embedded driver: no daemon, no network, nothing of the system's.  One client process
// serves many sessions, each with a domain of its own.
//
// To be used, and ended, in the thread that made it, or with the first thread of the process.
class LibvirtTarget final : public conformance::Target {
 public:
  // `spec` is "libvirt" for the system's QEMU, "libvirt:VERSION" for an installed release,
  // "libvirt:/PATH" for that program.  Every failure is of kind `harness` and names the cure.
  static std::expected<std::unique_ptr<LibvirtTarget>, TargetFailure> find(
      std::string spec, LibvirtOptions options = {});
  ~LibvirtTarget() override;

  std::string name() const override { return name_; }
  std::string version() const override;  // "libvirt 9.0.0, QEMU 7.2.22 (Debian …)"
  std::string release() const override;
  std::string needs_a_domain() const override {
    return "libvirt starts no machine for QMP alone, and adds disks as it likes";
  }
  std::string lacks_what_is_proposed() const override {
    return "as-proposed: libvirt never had what the founding documents propose";
  }
  std::string has_no_lock_manager() const override {
    return "libvirt asks lock daemons only that are configured and started outside of it";
  }
  std::string knows_one_recipe() const override {
    return "libvirt 9.0 sends blockdev-mirror, and drive-mirror no more";
  }
  std::string has_no_secrets() const override {
    return "the embedded libvirt is given no secrets here";
  }
  // A session must end before the next is opened, and before the target ends.
  Outcome<std::unique_ptr<conformance::Session>> open(
      const conformance::SessionOptions& options) override;

  // "7.2.22 (Debian …)".
  const std::string& qemu_version() const { return qemu_version_; }

 private:
  class LibvirtSession;
  LibvirtTarget(std::string spec, std::string emulator, LibvirtOptions options);
  Outcome<void> start();

  std::string name_;
  std::string emulator_;
  LibvirtOptions options_;
  std::string libvirt_version_;
  std::string qemu_version_;
  std::unique_ptr<ClientProcess> client_;
  bool in_session_ = false;
  std::uint64_t sessions_ = 0;
};

}  // namespace real_libvirt
