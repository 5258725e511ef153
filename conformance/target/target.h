// A hypervisor that scenarios run against: the simulator, one real QEMU version.

#pragma once

#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "conformance/target/domain_api.h"
#include "conformance/target/files.h"
#include "conformance/target/hypervisor.h"
#include "conformance/target/transcript.h"

namespace conformance {

// Of the requests to the file at `path` the nth from now on fails.
struct FileFault {
  std::string path;
  enum class Operation : unsigned char { read, write, discard, flush, grow };
  Operation operation = Operation::write;
  std::uint64_t nth = 1;
  int number = EIO;      // an errno
  bool lasting = false;  // all after it fail as well
};

// One scenario's use of a target: a private, empty directory, and a paused machine without disks
// whose QMP is ready.  Ends with the object, whatever happened; nothing of it is left behind.
class Session {
 public:
  virtual ~Session() = default;
  virtual Hypervisor& hypervisor() = 0;
  virtual Files& files() = 0;
  // Starts a domain of the target's own, where that is real libvirt; nothing where the harness is
  // to make one over hypervisor().  To be called once, before anything else is asked of
  // hypervisor(), which concerns that domain then.  What is said on its monitor is added to
  // `transcript`; that and the session outlive the domain.
  virtual std::optional<DomainResult<std::unique_ptr<DomainApi>>> start_domain(
      const DomainDefinition& /*definition*/, Transcript& /*transcript*/) {
    return std::nullopt;
  }
  // It crashes where its release is known to: that is no divergence by itself.
  virtual bool is_simulated() const { return false; }
  // Whether it works on requests at this moment, apart from its monitor: a job whose answers do not
  // change is at rest only if not.  False where the target cannot tell.
  virtual bool is_at_work() const { return false; }
  // One number for everything that happened; 0 where the target cannot tell (real QEMU).
  virtual std::uint64_t trace_hash() const { return 0; }

  // Lets a coming request to a file fail.  Nothing: it will; else why this target cannot do that.
  virtual std::optional<std::string> inject(const FileFault& /*fault*/) {
    return "this target cannot let requests fail";
  }
  // Ends the hypervisor and starts it anew over the same files: a paused machine without disks
  // again, behind the same hypervisor().
  [[nodiscard]] virtual Outcome<void> restart() {
    return std::unexpected(
        TargetFailure{TargetFailure::Kind::harness, "this target cannot be started anew"});
  }
  // Ends the hypervisor as its user would (quit): everything is in the files.  Only files() may be
  // used afterwards.
  [[nodiscard]] virtual Outcome<void> end() {
    return std::unexpected(
        TargetFailure{TargetFailure::Kind::harness, "this target cannot be ended"});
  }
  // Ends the hypervisor as a power cut would, as far as the target can: the simulator draws what of
  // the unflushed changes is lost; a real QEMU is killed, and the host still writes what it was
  // given.  Only files() may be used afterwards.
  [[nodiscard]] virtual Outcome<void> cut_power() {
    return std::unexpected(
        TargetFailure{TargetFailure::Kind::harness, "this target's power cannot be cut"});
  }
};

struct SessionOptions {
  std::uint64_t seed = 1;
  bool explore = false;  // the simulator: run due work in an order drawn from the seed
  bool hazards = false;  // inject() and cut_power() will be used
  // The simulator: after a command all that needs no time is done before the next one.  A real
  // QEMU gets that far while a client reads the reply.
  bool settles = false;
};

class Target {
 public:
  virtual ~Target() = default;
  virtual std::string name() const = 0;     // as given with --target: "sim:7.2", "qemu"
  virtual std::string version() const = 0;  // "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"
  // The profile this target should behave as, "7.2": picks the expectations that apply.
  virtual std::string release() const = 0;
  // Why scenarios without disks, which are QMP alone, cannot run on it; empty: they can.
  virtual std::string needs_a_domain() const { return {}; }
  // Why scenarios in the dialect as-proposed cannot run on it; empty: they can.
  virtual std::string lacks_what_is_proposed() const { return {}; }
  // Why scenarios with leases cannot run on it; empty: they can.
  virtual std::string has_no_lock_manager() const { return {}; }
  // Why scenarios with the recipe `drive` cannot run on it; empty: they can.
  virtual std::string knows_one_recipe() const { return {}; }
  // Why scenarios with encrypted images cannot run on it; empty: they can.
  virtual std::string has_no_secrets() const { return {}; }
  // Not to be called from two threads at once for one Target; runners hold one per thread.
  [[nodiscard]] virtual Outcome<std::unique_ptr<Session>> open(const SessionOptions& options) = 0;
};

}  // namespace conformance
