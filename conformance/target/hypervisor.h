// The port to a hypervisor: QMP, events, and the guest's own I/O.

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "conformance/target/domain_error.h"
#include "sim/base/json.h"

namespace conformance {

using sim::Json;

struct Event {
  std::string name;  // "JOB_STATUS_CHANGE"
  Json data;         // an object; {} if the event has none
};

class Hypervisor {
 public:
  virtual ~Hypervisor() = default;

  // Sends one QMP command and waits for its reply: {"return": …} or {"error": {"class", "desc"}}.
  // Events that arrive meanwhile are kept for next_event().  `arguments` null: sent without.
  [[nodiscard]] virtual Outcome<Json> execute(std::string_view command, const Json& arguments) = 0;

  // The oldest event not yet taken, or nothing.  Does not wait.
  [[nodiscard]] virtual Outcome<std::optional<Event>> poll_event() = 0;

  // The oldest event not yet taken; waits for it up to `limit` (of wall time on real QEMU, of
  // virtual time on the simulator) and is nothing after that.
  [[nodiscard]] virtual Outcome<std::optional<Event>> next_event(
      std::chrono::milliseconds limit) = 0;
};

// The guest's own reads and writes, through the device and not through a node: HMP's
// `qemu-io -d QDEV`, which neither releases a held job nor conflicts with its permissions
// (measured, 5.2 to 11.1).  Each answers with the text that qemu-io printed if it failed.
//
// QEMU prints that text on its standard output and its monitor says "": a Hypervisor completes the
// reply to human-monitor-command with a `qemu-io` line, so that "return" holds what was printed,
// then what the monitor said.
struct GuestFailure {
  std::string text;
};
template <class T>
using GuestResult = std::expected<T, std::variant<GuestFailure, TargetFailure>>;

class Guest {
 public:
  // `qdev` is the QOM path of the device's backend: "/machine/peripheral/…/virtio-backend".
  Guest(Hypervisor& hypervisor, std::string qdev)
      : hypervisor_(hypervisor), qdev_(std::move(qdev)) {}

  GuestResult<void> write(std::uint64_t offset, std::uint64_t length, std::uint8_t pattern);
  GuestResult<void> write_zeroes(std::uint64_t offset, std::uint64_t length);
  GuestResult<void> discard(std::uint64_t offset, std::uint64_t length);
  GuestResult<void> flush();
  // True if every byte of the range equals `pattern`.
  GuestResult<bool> reads_as(std::uint64_t offset, std::uint64_t length, std::uint8_t pattern);

 private:
  GuestResult<std::string> run(const std::string& verb);
  Hypervisor& hypervisor_;
  std::string qdev_;
};

// Requests to a node by its name, through a backend of its own that needs no permission: HMP's
// `qemu-io NODE` (measured on 5.2 to 11.1: also while a guest's device uses the node).
class NodeIo {
 public:
  NodeIo(Hypervisor& hypervisor, std::string node)
      : hypervisor_(hypervisor), node_(std::move(node)) {}

  // Reads and drops the bytes.
  GuestResult<void> read(std::uint64_t offset, std::uint64_t length);
  // How many of the node's first `length` bytes it has itself, zero clusters included; what shows
  // from below it does not count.
  GuestResult<std::uint64_t> allocated(std::uint64_t length);

 private:
  Hypervisor& hypervisor_;
  std::string node_;
};

}  // namespace conformance
