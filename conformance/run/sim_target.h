// The simulator as a target: one fresh machine per session, files in memory.

#pragma once

#include <memory>
#include <string>

#include "conformance/target/target.h"
#include "sim/machine/machine.h"
#include "sim/storage/memory.h"

namespace conformance {

class SimSession final : public Session {
 public:
  SimSession(const sim::qmp::Profile& profile, const SessionOptions& options,
             sim::job::MirrorCanary canary);
  ~SimSession() override;

  Hypervisor& hypervisor() override;
  Files& files() override;
  bool is_simulated() const override { return true; }
  std::uint64_t trace_hash() const override;
  std::optional<std::string> inject(const FileFault& fault) override;
  Outcome<void> restart() override;
  Outcome<void> end() override;
  Outcome<void> cut_power() override;

  // Where the machine's file names lead.
  sim::storage::MemoryFiles& storage();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

class SimTarget final : public Target {
 public:
  // `profile` must be one of sim::qmp::kProfiles.  The canary is for tests of the harness itself.
  explicit SimTarget(const sim::qmp::Profile& profile,
                     sim::job::MirrorCanary canary = sim::job::MirrorCanary::none)
      : profile_(profile), canary_(canary) {}

  std::string name() const override { return "sim:" + std::string(profile_.name); }
  std::string version() const override;
  std::string release() const override { return std::string(profile_.name); }
  Outcome<std::unique_ptr<Session>> open(const SessionOptions& options) override;

 private:
  const sim::qmp::Profile& profile_;
  sim::job::MirrorCanary canary_;
};

}  // namespace conformance
