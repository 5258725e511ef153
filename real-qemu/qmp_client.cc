#include "real-qemu/qmp_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace real_qemu {
namespace {

using std::chrono::milliseconds;

// Milliseconds from now to `deadline` for poll(2), rounded up, never negative.
int until(std::chrono::steady_clock::time_point deadline) {
  const auto left =
      std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<long long>(left, 0, 1'000'000'000));
}

std::string in_words(milliseconds limit) {
  return limit.count() % 1000 == 0 ? std::to_string(limit.count() / 1000) + " s"
                                   : std::to_string(limit.count()) + " ms";
}

}  // namespace

QmpClient::QmpClient(Descriptor socket, milliseconds limit, Console* console)
    : socket_(std::move(socket)), limit_(limit), console_(console) {}

std::unexpected<TargetFailure> QmpClient::fail(TargetFailure::Kind kind, std::string detail) {
  if (!failure_) failure_ = TargetFailure{.kind = kind, .detail = std::move(detail)};
  return std::unexpected(*failure_);
}

Outcome<void> QmpClient::negotiate(milliseconds limit) {
  auto greeting = next_reply(Clock::now() + limit);
  if (!greeting) return std::unexpected(greeting.error());
  if (!*greeting)
    return fail(TargetFailure::Kind::hang, "no QMP greeting within " + in_words(limit));
  const auto qmp = (*greeting)->find("QMP");
  if (qmp == (*greeting)->end() || !qmp->is_object())
    return fail(TargetFailure::Kind::harness, "no QMP greeting, but " + (*greeting)->dump());
  greeting_ = *qmp;
  auto reply = execute("qmp_capabilities", nullptr);
  if (!reply) return std::unexpected(reply.error());
  if (!reply->contains("return"))
    return fail(TargetFailure::Kind::harness, "qmp_capabilities was refused: " + reply->dump());
  return {};
}

Outcome<Json> QmpClient::execute(std::string_view command, const Json& arguments) {
  if (failure_) return std::unexpected(*failure_);
  if (quitting_)
    return fail(TargetFailure::Kind::crash,
                "it had been told to quit before it was sent " + std::string(command));
  const auto deadline = Clock::now() + limit_;
  const std::uint64_t id = ++last_id_;
  Json request = {{"execute", command}, {"id", id}};
  if (!arguments.is_null()) request["arguments"] = arguments;
  // Bytes that are no UTF-8 cannot be written as JSON: they are left out.
  if (auto sent = send(request.dump(-1, ' ', false, Json::error_handler_t::ignore), deadline);
      !sent)
    return std::unexpected(sent.error());
  while (true) {
    auto reply = next_reply(deadline);
    if (!reply) return std::unexpected(reply.error());
    if (!*reply)
      return fail(TargetFailure::Kind::hang,
                  "no reply to " + std::string(command) + " within " + in_words(limit_));
    // A reply without an id is an error about the command's text; another id is that of a command
    // given up earlier.
    const auto its_id = (*reply)->find("id");
    if (its_id != (*reply)->end() && *its_id != id) continue;
    (*reply)->erase("id");
    if (command == "quit" && (*reply)->contains("return")) quitting_ = true;
    return std::move(**reply);
  }
}

Outcome<std::optional<Event>> QmpClient::poll_event() { return next_event(milliseconds(0)); }

Outcome<std::optional<Event>> QmpClient::next_event(milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  while (true) {
    if (!events_.empty()) {
      Event event = std::move(events_.front());
      events_.pop_front();
      return event;
    }
    if (failure_) return std::unexpected(*failure_);
    auto stray = sort_messages();
    if (!stray) return std::unexpected(stray.error());
    if (*stray || !events_.empty()) continue;  // a reply that nobody waits for is dropped
    const Wait wait = receive(deadline);
    if (wait == Wait::timeout || (wait == Wait::closed && quitting_)) return std::nullopt;
    if (wait == Wait::closed) return fail(TargetFailure::Kind::crash, "it closed its monitor");
  }
}

Outcome<void> QmpClient::send(std::string_view text, Clock::time_point deadline) {
  while (!text.empty()) {
    const ssize_t sent =
        ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      text.remove_prefix(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK)
      return fail(TargetFailure::Kind::crash, "it closed its monitor");
    pollfd fd = {.fd = socket_.get(), .events = POLLOUT, .revents = 0};
    if (::poll(&fd, 1, until(deadline)) == 0)
      return fail(TargetFailure::Kind::hang, "it takes no commands");
    if (console_ != nullptr) console_->drain();
  }
  return {};
}

QmpClient::Wait QmpClient::receive(Clock::time_point deadline) {
  std::array<char, 65536> buffer;
  while (!closed_) {
    const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got > 0) {
      stream_.feed({buffer.data(), static_cast<std::size_t>(got)});
      return Wait::ready;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) {
      closed_ = true;
      break;
    }
    const int console_fd = console_ == nullptr ? -1 : console_->fd();
    std::array<pollfd, 2> fds = {pollfd{.fd = socket_.get(), .events = POLLIN, .revents = 0},
                                 pollfd{.fd = console_fd, .events = POLLIN, .revents = 0}};
    if (::poll(fds.data(), fds.size(), until(deadline)) == 0) return Wait::timeout;
    if (fds[1].revents != 0) console_->drain();
  }
  return Wait::closed;
}

Outcome<std::optional<Json>> QmpClient::next_reply(Clock::time_point deadline) {
  while (true) {
    auto message = sort_messages();
    if (!message || *message) return message;
    switch (receive(deadline)) {
      case Wait::ready:
        break;
      case Wait::timeout:
        return std::nullopt;
      case Wait::closed:
        return fail(TargetFailure::Kind::crash, "it closed its monitor");
    }
  }
}

Outcome<std::optional<Json>> QmpClient::sort_messages() {
  while (auto text = stream_.take()) {
    Json message = Json::parse(*text, nullptr, false);
    if (message.is_discarded())
      return fail(TargetFailure::Kind::harness, "it sent what is no JSON: " + text->substr(0, 200));
    const auto name = message.find("event");
    if (name == message.end()) return message;
    if (!name->is_string())
      return fail(TargetFailure::Kind::harness, "it sent a nameless event: " + *text);
    auto data = message.find("data");
    events_.push_back({.name = name->get<std::string>(),
                       .data = data == message.end() ? Json::object() : std::move(*data)});
  }
  if (stream_.broken()) return fail(TargetFailure::Kind::harness, "it sent what is no QMP");
  return std::nullopt;
}

}  // namespace real_qemu
