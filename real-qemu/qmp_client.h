// QMP, the client's side, over a connected stream socket.

#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "conformance/target/hypervisor.h"
#include "real-qemu/console.h"
#include "real-qemu/descriptor.h"
#include "real-qemu/message_stream.h"

namespace real_qemu {

using conformance::Event;
using conformance::Outcome;
using conformance::TargetFailure;
using sim::Json;

// Once it has failed, every later call fails in the same way.
class QmpClient final : public conformance::Hypervisor {
 public:
  // `limit` bounds the wait for each reply.  `console` is what the server
  // prints: it is drained while we wait, lest the server wait for us; may be null; must outlive
  // the client.
  QmpClient(Descriptor socket, std::chrono::milliseconds limit, Console* console);

  // Reads the greeting, for which it waits up to `limit`, and leaves capabilities negotiation.
  Outcome<void> negotiate(std::chrono::milliseconds limit);
  // The greeting's member "QMP".
  const Json& greeting() const { return greeting_; }

  // Failures: `crash` when the server closed the connection, `hang` when it did not answer in
  // time, `harness` when it sent what is no QMP.
  Outcome<Json> execute(std::string_view command, const Json& arguments) override;
  Outcome<std::optional<Event>> poll_event() override;
  // A server that was told to quit, and said that it would, has no more events: that is no crash.
  Outcome<std::optional<Event>> next_event(std::chrono::milliseconds limit) override;

  void limit_replies(std::chrono::milliseconds limit) { limit_ = limit; }
  // Forgets the events that have arrived.
  void drop_events() { events_.clear(); }
  // True once `quit` was answered.
  bool quitting() const { return quitting_; }
  // True once a call has failed.
  bool failed() const { return failure_.has_value(); }

 private:
  using Clock = std::chrono::steady_clock;
  enum class Wait : unsigned char { ready, timeout, closed };

  std::unexpected<TargetFailure> fail(TargetFailure::Kind kind, std::string detail);
  Outcome<void> send(std::string_view text, Clock::time_point deadline);
  // Waits until something arrives and takes it in.
  Wait receive(Clock::time_point deadline);
  // The next message that is no event; nothing when `deadline` has come.  Events are queued.
  Outcome<std::optional<Json>> next_reply(Clock::time_point deadline);
  // Sorts the complete messages: events to events_, the first other one is returned.
  Outcome<std::optional<Json>> sort_messages();

  Descriptor socket_;
  std::chrono::milliseconds limit_;
  Console* console_;
  MessageStream stream_;
  std::deque<Event> events_;
  Json greeting_;
  std::uint64_t last_id_ = 0;
  bool closed_ = false;    // the server closed the connection; what came before may be unread
  bool quitting_ = false;  // it had answered `quit`
  std::optional<TargetFailure> failure_;
};

}  // namespace real_qemu
