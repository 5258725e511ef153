#include "real-qemu/console.h"

#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace real_qemu {

std::expected<Console::Ends, std::string> Console::open() {
  const auto failed = [] {
    return std::unexpected("cannot open a pseudo terminal: " + std::string(std::strerror(errno)));
  };
  Descriptor ours(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (!ours || ::grantpt(ours.get()) != 0 || ::unlockpt(ours.get()) != 0) return failed();
  std::array<char, 64> name{};
  if (const int error = ::ptsname_r(ours.get(), name.data(), name.size()); error != 0) {
    errno = error;
    return failed();
  }
  Descriptor theirs(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  termios settings{};
  if (!theirs || ::tcgetattr(theirs.get(), &settings) != 0) return failed();
  ::cfmakeraw(&settings);  // no echo, and LF stays LF
  if (::tcsetattr(theirs.get(), TCSANOW, &settings) != 0) return failed();
  return Ends{Console(std::move(ours)), std::move(theirs)};
}

void Console::drain() {
  std::array<char, 16384> buffer{};
  while (ours_) {
    const ssize_t got = ::read(ours_.get(), buffer.data(), buffer.size());
    if (got > 0) {
      if (text_.size() < kMaxText) text_.append(buffer.data(), static_cast<std::size_t>(got));
    } else if (got < 0 && errno == EINTR) {
      continue;
    } else {
      // EIO: no process has the other end any more.
      if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) ours_.close();
      return;
    }
  }
}

std::string Console::take_text() { return std::exchange(text_, {}); }

}  // namespace real_qemu
