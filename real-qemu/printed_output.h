// Completes the monitor's replies with what QEMU printed, as the port Hypervisor promises.

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string_view>

#include "conformance/target/hypervisor.h"
#include "real-qemu/console.h"

namespace real_qemu {

class PrintedOutput {
 public:
  // Sends human-monitor-command with these arguments and gives the reply.
  using Ask = std::function<conformance::Outcome<sim::Json>(const sim::Json& arguments)>;

  // `console` is QEMU's standard output, and outlives the object; `limit` bounds the wait for it.
  PrintedOutput(Console& console, std::chrono::milliseconds limit, Ask ask)
      : console_(console), limit_(limit), ask_(std::move(ask)) {}

  // If this was human-monitor-command with a `qemu-io` line: puts what that printed in front of the
  // monitor's own answer in `reply`.  A failure is of the asking, or `harness` when what was
  // printed does not arrive.
  conformance::Outcome<void> add(std::string_view command, const sim::Json& arguments,
                                 sim::Json& reply);

 private:
  conformance::Outcome<void> wait_for(const std::string& mark);

  Console& console_;
  std::chrono::milliseconds limit_;
  Ask ask_;
  std::uint64_t last_mark_ = 0;
};

}  // namespace real_qemu
