// A chardev: where one client at a time comes, over a UNIX socket or standard input and output.

#pragma once

#include <poll.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/machine/command_line.h"
#include "sim/machine/descriptor.h"

namespace sim::machine {

class Port {
 public:
  // Binds, connects or takes over what `chardev` names; waits for a client where it says so, which
  // a line on `warn` announces.  Errors are QEMU's texts, without the option.
  static Result<Port> open(const Chardev& chardev, void (*warn)(const std::string& line));
  // Takes a socket that it bound out of the file system.
  ~Port();
  Port(Port&&) = default;
  Port& operator=(Port&&) = delete;

  bool has_client() const { return input_ >= 0; }

  // What to wait for: a client, its bytes (if `wants_input`), room for ours.
  void add_to(std::vector<pollfd>& waits, bool wants_input) const;

  // A client that waited is there now; false if none did.
  bool accept();
  // What came, without waiting; nothing if the client is gone.
  std::optional<std::string> receive();
  // Sends what can be sent without waiting, of this and of what was left before; false if the
  // client is gone.
  bool send(std::string_view bytes);
  bool has_unsent() const { return !unsent_.empty(); }

 private:
  Port() = default;
  Result<> listen_at(const std::string& path);
  Result<> connect_to(const std::string& path);
  Result<> take_over(const Chardev& chardev);
  void set_client(Descriptor client);
  void drop_client();

  Descriptor listener_;
  Descriptor client_;             // a socket
  int input_ = -1, output_ = -1;  // the client's; standard input and output have no `client_`
  std::string unsent_;
  std::string bound_;  // the path to remove
};

}  // namespace sim::machine
