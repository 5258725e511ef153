// The client's end of its connection with the target: QMP's framing, so that the target can use its
// QMP client.  A greeting {"QMP": …}; requests {"execute", "arguments", "id"}; answers {"return",
// "id"} or {"error", "id"}; {"event", "data"} at any time.

#pragma once

#include <mutex>
#include <optional>
#include <string>

#include "real-qemu/descriptor.h"
#include "real-qemu/message_stream.h"
#include "sim/base/json.h"

namespace real_libvirt {

class Channel {
 public:
  explicit Channel(real_qemu::Descriptor socket) : socket_(std::move(socket)) {}

  // Waits for the next request; nothing once the target has closed its end, or sent no request.
  std::optional<sim::Json> next_request();
  // From any thread.  What cannot be sent, as nobody reads it, is dropped.
  void send(const sim::Json& message);

 private:
  real_qemu::Descriptor socket_;
  real_qemu::MessageStream stream_;
  std::mutex sending_;
};

}  // namespace real_libvirt
