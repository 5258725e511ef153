// What a process prints on its standard output, by way of a pseudo terminal.
//
// QEMU's `qemu-io` (an HMP command) prints its results with stdio on standard output and answers
// nothing over the monitor (measured, 5.2 to 11.1).  Into a file or a pipe they would come when the
// buffer is full; a terminal makes stdio write each line at once.

#pragma once

#include <expected>
#include <string>

#include "real-qemu/descriptor.h"

namespace real_qemu {

class Console {
 public:
  // Our end, and the end for the process (close it once the process has it).  Neither is inherited
  // by what else is started.  The error is a sentence.
  struct Ends;
  static std::expected<Ends, std::string> open();

  Console() = default;
  explicit Console(Descriptor ours) : ours_(std::move(ours)) {}

  // Takes what can be read without waiting.
  void drain();
  // What was taken since the last call; lines end in LF.
  std::string take_text();
  const std::string& text() const { return text_; }
  // To wait on; -1 when the other end is closed.
  int fd() const { return ours_.get(); }

 private:
  Descriptor ours_;
  std::string text_;
  static constexpr std::size_t kMaxText = std::size_t{16} << 20;  // the rest is dropped
};

struct Console::Ends {
  Console ours;
  Descriptor theirs;
};

}  // namespace real_qemu
