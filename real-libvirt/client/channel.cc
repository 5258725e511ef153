#include "real-libvirt/client/channel.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string_view>

namespace real_libvirt {

using sim::Json;

std::optional<Json> Channel::next_request() {
  std::array<char, 16384> buffer{};
  while (true) {
    if (const auto text = stream_.take()) {
      Json request = Json::parse(*text, nullptr, false);
      if (request.is_discarded() || !request.contains("execute")) return std::nullopt;
      return request;
    }
    const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 || stream_.broken()) return std::nullopt;
    stream_.feed({buffer.data(), static_cast<std::size_t>(got)});
  }
}

void Channel::send(const Json& message) {
  const std::string text = message.dump(-1, ' ', false, Json::error_handler_t::ignore) + "\n";
  const std::lock_guard lock(sending_);
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t sent = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return;
    rest.remove_prefix(static_cast<std::size_t>(sent));
  }
}

}  // namespace real_libvirt
