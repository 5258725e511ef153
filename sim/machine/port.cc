#include "sim/machine/port.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace sim::machine {

namespace {

Error system_error(std::string what) {
  return {ErrorClass::generic, std::move(what) + ": " + std::strerror(errno), errno};
}

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return Error{ErrorClass::generic, fmt::format("UNIX socket path '{}' is too long\n"
                                                  "Path must be less than {} bytes",
                                                  path, sizeof address.sun_path)};
  path.copy(address.sun_path, path.size());
  return address;
}

Descriptor new_socket() { return Descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

}  // namespace

Result<Port> Port::open(const Chardev& chardev, void (*warn)(const std::string& line)) {
  Port port;
  switch (chardev.kind) {
    case Chardev::Kind::null:
      break;
    case Chardev::Kind::stdio:
      port.input_ = STDIN_FILENO;
      port.output_ = STDOUT_FILENO;
      break;
    case Chardev::Kind::connecting:
      TRY_OK(port.connect_to(chardev.path));
      break;
    case Chardev::Kind::descriptor:
      TRY_OK(port.take_over(chardev));
      break;
    case Chardev::Kind::listening:
      if (chardev.descriptor >= 0)
        TRY_OK(port.take_over(chardev));
      else
        TRY_OK(port.listen_at(chardev.path));
  }
  if (chardev.waits) {
    warn(fmt::format("{}: info: QEMU waiting for connection on: disconnected:unix:{},server=on",
                     chardev.option, chardev.path));
    pollfd ready = {.fd = port.listener_.get(), .events = POLLIN, .revents = 0};
    while (!port.accept()) (void)::poll(&ready, 1, -1);
  }
  return port;
}

Port::~Port() {
  if (!bound_.empty()) (void)::unlink(bound_.c_str());
}

Result<> Port::listen_at(const std::string& path) {
  TRY(const sockaddr_un address, address_of(path));
  Descriptor listener = new_socket();
  if (!listener) return system_error("Failed to create Unix socket");
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return system_error("Failed to unlink socket " + path);
  const auto* name = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(listener.get(), name, sizeof address) != 0)
    return system_error("Failed to bind socket to " + path);
  bound_ = path;
  if (::listen(listener.get(), 1) != 0) return system_error("Failed to listen on socket");
  listener_ = std::move(listener);
  return ok();
}

Result<> Port::connect_to(const std::string& path) {
  TRY(const sockaddr_un address, address_of(path));
  Descriptor client = new_socket();
  if (!client) return system_error("Failed to create socket");
  const auto* name = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(client.get(), name, sizeof address) != 0)
    return system_error(fmt::format("Failed to connect to '{}'", path));
  set_client(std::move(client));
  return ok();
}

Result<> Port::take_over(const Chardev& chardev) {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(chardev.descriptor, SOL_SOCKET, SO_TYPE, &type, &size) != 0)
    return Error{ErrorClass::generic,
                 fmt::format("File descriptor '{}' is not a socket", chardev.descriptor)};
  if (chardev.kind == Chardev::Kind::listening)
    listener_ = Descriptor(chardev.descriptor);
  else
    set_client(Descriptor(chardev.descriptor));
  return ok();
}

void Port::set_client(Descriptor client) {
  client_ = std::move(client);
  input_ = output_ = client_.get();
  unsent_.clear();
}

void Port::drop_client() {
  client_.close();
  input_ = output_ = -1;
  unsent_.clear();
}

void Port::add_to(std::vector<pollfd>& waits, bool wants_input) const {
  const auto add = [&waits](int fd, short events) {
    waits.push_back({.fd = fd, .events = events, .revents = 0});
  };
  if (!has_client()) {
    if (listener_) add(listener_.get(), POLLIN);
    return;
  }
  if (wants_input) add(input_, POLLIN);
  if (has_unsent()) add(output_, POLLOUT);
}

bool Port::accept() {
  if (has_client() || !listener_) return false;
  pollfd ready = {.fd = listener_.get(), .events = POLLIN, .revents = 0};
  if (::poll(&ready, 1, 0) <= 0) return false;
  Descriptor client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!client) return false;
  set_client(std::move(client));
  return true;
}

std::optional<std::string> Port::receive() {
  pollfd ready = {.fd = input_, .events = POLLIN, .revents = 0};
  if (!has_client() || ::poll(&ready, 1, 0) <= 0) return "";
  std::array<char, 65536> buffer;
  const ssize_t got = ::read(input_, buffer.data(), buffer.size());
  if (got > 0) return std::string(buffer.data(), static_cast<std::size_t>(got));
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return "";
  drop_client();
  return std::nullopt;
}

bool Port::send(std::string_view bytes) {
  if (!has_client()) return true;
  unsent_ += bytes;
  // So much goes into a pipe that has room, without waiting.
  static constexpr std::size_t kMost = PIPE_BUF;
  while (!unsent_.empty()) {
    pollfd ready = {.fd = output_, .events = POLLOUT, .revents = 0};
    if (::poll(&ready, 1, 0) <= 0) return true;
    const std::size_t size = std::min(unsent_.size(), kMost);
    const ssize_t sent = client_ ? ::send(output_, unsent_.data(), client_ ? unsent_.size() : size,
                                          MSG_NOSIGNAL | MSG_DONTWAIT)
                                 : ::write(output_, unsent_.data(), size);
    if (sent > 0) {
      unsent_.erase(0, static_cast<std::size_t>(sent));
    } else if (sent < 0 && errno != EAGAIN && errno != EINTR) {
      drop_client();
      return false;
    }
  }
  return true;
}

}  // namespace sim::machine
