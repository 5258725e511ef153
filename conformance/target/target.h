// A hypervisor that scenarios run against: the simulator, one real QEMU version.

#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "conformance/target/files.h"
#include "conformance/target/hypervisor.h"

namespace conformance {

// One scenario's use of a target: a private, empty directory, and a paused machine without disks
// whose QMP is ready.  Ends with the object, whatever happened; nothing of it is left behind.
class Session {
 public:
  virtual ~Session() = default;
  virtual Hypervisor& hypervisor() = 0;
  virtual Files& files() = 0;
  // One number for everything that happened; 0 where the target cannot tell (real QEMU).
  virtual std::uint64_t trace_hash() const { return 0; }
};

struct SessionOptions {
  std::uint64_t seed = 1;
  bool explore = false;  // the simulator: run due work in an order drawn from the seed
};

class Target {
 public:
  virtual ~Target() = default;
  virtual std::string name() const = 0;     // as given with --target: "sim:7.2", "qemu"
  virtual std::string version() const = 0;  // "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"
  // The profile this target should behave as, "7.2": picks the expectations that apply.
  virtual std::string release() const = 0;
  // Not to be called from two threads at once for one Target; runners hold one per thread.
  [[nodiscard]] virtual Outcome<std::unique_ptr<Session>> open(const SessionOptions& options) = 0;
};

}  // namespace conformance
