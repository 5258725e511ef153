// Cuts a QMP connection's bytes into messages.
//
// The server's output is a stream of JSON objects: one may come in pieces, several may come at
// once, and what separates them (QEMU sends CR LF) is only white space.

#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace real_qemu {

class MessageStream {
 public:
  // Takes what was received.
  void feed(std::string_view bytes) { pending_.append(bytes); }

  // The text of the oldest complete object not yet taken, or nothing.
  std::optional<std::string> take();

  // True, for good, once take() met what can be no message: something other than an object at the
  // top, nesting beyond 1,024, or a message beyond 64 MiB (QEMU's own limits).
  bool broken() const { return broken_; }

 private:
  std::string pending_;        // from the first byte not yet taken
  std::size_t scanned_ = 0;    // so much of it was looked at
  std::size_t depth_ = 0;      // open braces and brackets at scanned_
  bool in_string_ = false;     // likewise
  bool after_escape_ = false;  // likewise
  bool broken_ = false;

  static constexpr std::size_t kMaxDepth = 1024;
  static constexpr std::size_t kMaxMessage = std::size_t{64} << 20;
};

}  // namespace real_qemu
