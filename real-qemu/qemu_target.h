// A real QEMU as a target that scenarios run against.

#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>

#include "conformance/target/target.h"
#include "real-qemu/directory.h"
#include "real-qemu/installed.h"
#include "real-qemu/process.h"

namespace real_qemu {

struct QemuOptions {
  Places places;
  Limits limits;
  std::string scratch = scratch_place();  // where private directories are made
  // So many sessions use one process.  A fresh start costs about as much as one scenario.
  unsigned sessions_per_process = 300;
};

// One process serves many sessions, one after the other: what a session leaves behind is undone
// (recycle.h), and where that does not work, or the session did what cannot be undone, crashed or
// hung QEMU, the next session gets a new process.
//
// To be used, and ended, in the thread that made it: QEMU is killed with its parent thread.
class QemuTarget final : public conformance::Target {
 public:
  // Finds the program that `spec` names (installed.h) and starts it.  Every failure is of kind
  // `harness` and names the cure.
  static std::expected<std::unique_ptr<QemuTarget>, TargetFailure> find(std::string spec,
                                                                        QemuOptions options = {});
  ~QemuTarget() override;

  std::string name() const override { return name_; }
  std::string version() const override { return version_; }
  std::string release() const override { return release_; }
  // A session must end before the next is opened, and before the target ends.
  Outcome<std::unique_ptr<conformance::Session>> open(
      const conformance::SessionOptions& options) override;

  // Of the process that the current session uses, or the next one would; 0 if none runs.
  int pid() const { return process_ ? process_->pid() : 0; }
  // How many processes were started so far.
  unsigned starts() const { return starts_; }

 private:
  class QemuSession;
  QemuTarget(std::string spec, std::string program, QemuOptions options);
  Outcome<void> start();
  // Makes the process fit for another session, or ends it.
  void finish(bool reusable);

  std::string name_;
  std::string program_;
  QemuOptions options_;
  std::string version_;
  std::string release_;
  std::unique_ptr<Process> process_;
  bool in_session_ = false;
  unsigned sessions_of_process_ = 0;
  unsigned starts_ = 0;
  std::uint64_t sessions_ = 0;
};

// Of a version as Target::version() gives it, the number alone: "7.2.22".
std::string exact_version(std::string_view version);

}  // namespace real_qemu
