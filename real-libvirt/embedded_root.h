// The private directory that is the whole world of one embedded libvirt.
//
// What is in it, and why, was measured on libvirt 9.0.0 (docs/decisions/libvirt-target.md).

#pragma once

#include <expected>
#include <string>

#include "real-qemu/directory.h"

namespace real_libvirt {

class EmbeddedRoot {
 public:
  // Makes a directory in `place` with libvirt's configuration and, as the emulator, a wrapper
  // around `program` that prints where the environment's UNDERSTUDY_CONSOLE says.  The error is a
  // sentence.
  static std::expected<EmbeddedRoot, std::string> make(const std::string& place,
                                                       const std::string& program);

  const std::string& path() const { return directory_.path(); }
  std::string emulator() const { return path() + "/qemu-system-x86_64"; }
  std::string monitor_log() const { return path() + "/monitor.log"; }
  std::string errors() const { return path() + "/stderr"; }  // the client's
  // Of a domain's QEMU: its process number, and what it said.
  std::string pid_file(const std::string& domain) const {
    return path() + "/run/qemu/" + domain + ".pid";
  }
  std::string log(const std::string& domain) const {
    return path() + "/log/qemu/" + domain + ".log";
  }

  // Kills what QEMUs still run here.  For when nobody else does it any more.
  void kill_all() const;

 private:
  explicit EmbeddedRoot(real_qemu::PrivateDirectory directory) : directory_(std::move(directory)) {}
  real_qemu::PrivateDirectory directory_;
};

// The end of a text file, its lines joined by " | ".
std::string last_words(const std::string& path);

}  // namespace real_libvirt
