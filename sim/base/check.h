// CHECK: our own bug.  Prints where, what, and whatever context was registered (the World registers
// seed and last trace lines), then aborts.  Never used for bad input.

#pragma once

#include <string>
#include <string_view>

namespace sim {

[[noreturn]] void check_failed(const char* file, int line, std::string_view condition,
                               std::string_view message);

// Called by a failing CHECK of this thread, innermost first, to say what was going on.
class CheckContext {
 public:
  using Describe = std::string (*)(const void* subject);
  CheckContext(Describe describe, const void* subject);
  ~CheckContext();
  CheckContext(const CheckContext&) = delete;
  CheckContext& operator=(const CheckContext&) = delete;

 private:
  friend void check_failed(const char*, int, std::string_view, std::string_view);
  Describe describe_;
  const void* subject_;
  CheckContext* outer_;
  CheckContext* inner_ = nullptr;
};

}  // namespace sim

#define CHECK(condition, ...)                                                               \
  do {                                                                                      \
    if (!(condition)) [[unlikely]]                                                          \
      ::sim::check_failed(__FILE__, __LINE__, #condition, ::std::string_view{__VA_ARGS__}); \
  } while (false)
