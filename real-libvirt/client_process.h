// The program understudy-libvirt as the target sees it: libvirt's calls, their answers, its events.

#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "conformance/target/domain_api.h"
#include "conformance/target/transcript.h"
#include "real-libvirt/embedded_root.h"
#include "real-libvirt/monitor_log.h"
#include "real-qemu/child.h"
#include "real-qemu/console.h"
#include "real-qemu/printed_output.h"
#include "real-qemu/qmp_client.h"

namespace real_libvirt {

using conformance::DomainResult;
using conformance::Outcome;
using conformance::TargetFailure;
using sim::Json;

struct ClientLimits {
  std::chrono::milliseconds start{20'000};
  // From a call to its answer; the first domain waits for libvirt to ask QEMU what it can do.
  std::chrono::milliseconds reply{60'000};
  std::chrono::milliseconds end{5'000};
};

// One process and one embedded driver in a directory of its own; domains one after the other.  To
// be used in the thread that started it: it is killed with that.
class ClientProcess {
 public:
  // `client` is the program, `emulator` the QEMU that its domains shall run.  Failures are of kind
  // `harness`.
  static Outcome<std::unique_ptr<ClientProcess>> start(const std::string& client,
                                                       const std::string& emulator,
                                                       const std::string& place,
                                                       const ClientLimits& limits);
  // Ends it and every QEMU that it started.
  ~ClientProcess();
  ClientProcess(const ClientProcess&) = delete;
  ClientProcess& operator=(const ClientProcess&) = delete;

  // Starts a domain of this name, which no other had; from then on the domain's conversation with
  // its QEMU is added to `transcript`, which must outlive the domain.
  DomainResult<void> start_domain(const std::string& name,
                                  const conformance::DomainDefinition& definition,
                                  conformance::Transcript& transcript);
  // Kills its QEMU, if there is one, and forgets all about it.
  Outcome<void> end_domain();

  // One of the client's requests (client/requests.h): "return" of its answer, or libvirt's error.
  DomainResult<Json> ask(std::string_view request, const Json& arguments);
  // Events of the domain's block jobs; waits up to `limit`.
  DomainResult<std::optional<conformance::BlockJobEvent>> next_event(
      std::chrono::milliseconds limit);

  // As Hypervisor's, of the domain's QEMU by way of libvirt.
  Outcome<Json> execute(std::string_view command, const Json& arguments);
  Outcome<std::optional<conformance::Event>> next_monitor_event(std::chrono::milliseconds limit);

  // False once it has failed.
  bool usable() const { return !failure_ && !qmp_.failed(); }
  // "9.0.0".
  std::string version() const { return qmp_.greeting().value("libvirt", ""); }
  const EmbeddedRoot& root() const { return root_; }

 private:
  ClientProcess(EmbeddedRoot root, real_qemu::Console::Ends console, real_qemu::Descriptor socket,
                const ClientLimits& limits);
  Outcome<void> open();
  Outcome<Json> request(std::string_view name, const Json& arguments);
  Outcome<Json> monitor_command(std::string_view command, const Json& arguments);
  // Adds to a failure of the connection what the client said.
  std::unexpected<TargetFailure> explained(TargetFailure failure);
  TargetFailure gone() const;
  // Moves what was said on the monitor to the transcript; stops at an event if it is to be
  // given to somebody who writes it there.
  std::optional<conformance::Event> write_down(bool until_event);
  // Takes one event of the client's; false if there was none within the limit.
  Outcome<bool> take_event(std::chrono::milliseconds limit);

  EmbeddedRoot root_;
  real_qemu::Console console_;
  real_qemu::Descriptor terminal_;  // the other end, lest the console end with a QEMU
  ClientLimits limits_;
  std::optional<real_qemu::Child> child_;
  real_qemu::QmpClient qmp_;
  real_qemu::PrintedOutput printed_;
  MonitorLog log_;
  std::optional<TargetFailure> failure_;
  std::string domain_;    // empty: none
  bool stopped_ = false;  // its QEMU is no more
  conformance::Transcript* transcript_ = nullptr;
  std::deque<conformance::BlockJobEvent> events_;
};

}  // namespace real_libvirt
