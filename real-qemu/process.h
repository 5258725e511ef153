// One QEMU process: a paused PC without devices, spoken to over QMP.

#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conformance/target/hypervisor.h"
#include "real-qemu/child.h"
#include "real-qemu/console.h"
#include "real-qemu/directory.h"
#include "real-qemu/printed_output.h"
#include "real-qemu/qmp_client.h"

namespace real_qemu {

struct Limits {
  std::chrono::milliseconds start{20'000};  // from exec to the end of QMP's negotiation
  std::chrono::milliseconds reply{30'000};  // from a command to its reply
  std::chrono::milliseconds end{3'000};     // from `quit` to the process' end; then SIGKILL
};

struct ProcessOptions {
  std::string program;                 // a path
  std::string place;                   // where its private directory is made
  std::vector<std::string> arguments;  // after ours
  Limits limits;
};

// It has a session of its own (an interrupt at our terminal does not reach it) and is killed by
// the kernel when the thread that started it ends: start it in the thread that uses it.
//
// The answer to human-monitor-command with a `qemu-io` line is completed by what the command
// printed on QEMU's standard output: "return" is that text, then what the monitor answered.
class Process final : public conformance::Hypervisor {
 public:
  // Starts the program and waits for its monitor.  A failure is of kind `harness` and says what
  // the program said.
  static Outcome<std::unique_ptr<Process>> start(const ProcessOptions& options);
  // Tells it to quit if it can still be told, waits, kills.  Removes its directory.
  ~Process() override;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Failures say how the process ended and what it last wrote on its standard error.
  Outcome<Json> execute(std::string_view command, const Json& arguments) override;
  Outcome<std::optional<Event>> poll_event() override;
  Outcome<std::optional<Event>> next_event(std::chrono::milliseconds limit) override;

  // Tells it to quit and waits until it has ended; a failure if it does not.
  Outcome<void> quit();

  // Ends it at once (SIGKILL), and returns when it has ended.
  void kill() { child_->kill(); }

  void drop_events() { qmp_.drop_events(); }
  // Its standard error and output from before now concern nobody any more.
  void forget_output();
  // False once it has failed or was told to quit.
  bool usable() const { return !qmp_.failed() && !qmp_.quitting(); }
  const Json& greeting() const { return qmp_.greeting(); }
  // Its private directory.
  const std::string& directory() const { return directory_.path(); }
  int pid() const { return child_->pid(); }
  bool is_at_work() const { return child_->is_at_work(); }

 private:
  Process(const ProcessOptions& options, PrivateDirectory directory, Console console,
          Descriptor monitor);
  // Adds to a failure of the connection how the process is and what it said.
  std::unexpected<TargetFailure> explained(TargetFailure failure);
  std::string errors_file() const { return directory_.path() + "/stderr"; }
  std::string last_words() const;

  std::string program_;
  Limits limits_;
  PrivateDirectory directory_;
  Console console_;
  std::optional<Child> child_;
  QmpClient qmp_;
  PrintedOutput printed_;
  std::uint64_t errors_from_ = 0;         // offset in errors_file()
  std::optional<TargetFailure> failure_;  // explained
};

}  // namespace real_qemu
