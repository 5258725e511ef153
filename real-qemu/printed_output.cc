#include "real-qemu/printed_output.h"

#include <poll.h>

#include <string>

namespace real_qemu {

using conformance::Outcome;
using conformance::TargetFailure;
using sim::Json;

static bool ends_a_request(std::string_view text) { return text.ends_with(" ops/sec)\n"); }

// The terminal hands a line on a moment after it was written.  A request that was carried out ends
// with its statistics; after anything else we let QEMU print a line that we know (`help` of an
// unknown name prints one and touches no block device) and read up to that.
Outcome<void> PrintedOutput::add(std::string_view command, const Json& arguments, Json& reply) {
  if (command != "human-monitor-command" || !arguments.contains("command-line") ||
      !arguments["command-line"].is_string())
    return {};
  const auto& line = arguments["command-line"].get_ref<const std::string&>();
  const auto answer = reply.find("return");
  const auto quote = line.find('"');
  if (!line.starts_with("qemu-io ") || answer == reply.end() || !answer->is_string() ||
      quote == std::string::npos)
    return {};
  const auto& said = answer->get_ref<const std::string&>();
  if (said.starts_with("Error:") || said.starts_with("qemu-io:")) return {};
  console_.drain();
  if (ends_a_request(console_.text())) {
    *answer = console_.take_text() + said;
    return {};
  }
  const std::string name = "understudy-" + std::to_string(++last_mark_);
  auto marked = ask_({{"command-line", line.substr(0, quote) + "\"help " + name + "\""}});
  if (!marked) return std::unexpected(marked.error());
  const std::string mark = "command " + name + " not found\n";
  if (auto arrived = wait_for(mark); !arrived) return arrived;
  std::string text = console_.take_text();
  if (text.ends_with(mark)) text.resize(text.size() - mark.size());
  *answer = text + said;
  return {};
}

Outcome<void> PrintedOutput::wait_for(const std::string& mark) {
  const auto deadline = std::chrono::steady_clock::now() + limit_;
  while (console_.fd() >= 0 && !console_.text().ends_with(mark)) {
    if (std::chrono::steady_clock::now() >= deadline)
      return std::unexpected(TargetFailure{.kind = TargetFailure::Kind::harness,
                                           .detail = "its standard output does not arrive"});
    pollfd fd = {.fd = console_.fd(), .events = POLLIN, .revents = 0};
    ::poll(&fd, 1, 100);
    console_.drain();
  }
  return {};
}

}  // namespace real_qemu
