// A part of a file that is looked at where it lies, in the page cache, instead of being copied.

#pragma once

#include <cstddef>
#include <cstdint>

#include "sim/base/bytes.h"

namespace sim::storage {

// At most one range of one file at a time.  Someone may cut the file short, or its disk may fail,
// while the range is looked at, for which the system has SIGBUS: then zeroes are there, and held()
// says so.  The first Window of a process takes over that signal; what is not about a Window goes
// to who had it before.
class Window {
 public:
  Window() = default;
  ~Window() { close(); }
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;

  // Shows [offset, offset + length) of the open file, instead of what was shown before.  Empty: the
  // file has no such range, or the system cannot do it.
  Bytes show(int descriptor, std::uint64_t offset, std::uint64_t length);
  void close();

  // False: part of what was seen since show() was not the file's.
  bool held() const { return !broken_; }

 private:
  friend struct WindowSignal;
  bool patch(const std::byte* address);

  std::byte* start_ = nullptr;  // null: nothing is shown
  std::size_t bytes_ = 0;       // whole pages
  volatile bool broken_ = false;
};

}  // namespace sim::storage
