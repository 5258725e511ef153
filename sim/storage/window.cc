#include "sim/storage/window.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>

namespace sim::storage {

// What the signal handler looks at: the windows that show something.
static std::array<std::atomic<Window*>, 64> shown;  // NOLINT: a signal handler has nothing else
static struct sigaction before;                     // NOLINT: who had SIGBUS

static std::size_t page_bytes() {
  static const auto kBytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return kBytes;
}

struct WindowSignal {
  static void handle(int /*signal*/, siginfo_t* info, void* /*context*/) {
    const auto* address = static_cast<const std::byte*>(info->si_addr);
    for (const auto& slot : shown) {
      Window* window = slot.load();
      if (window != nullptr && window->patch(address)) return;
    }
    ::sigaction(SIGBUS, &before, nullptr);  // the same access comes again
  }
  static void install() {
    static std::once_flag once;
    std::call_once(once, [] {
      struct sigaction action{};
      action.sa_sigaction = handle;
      action.sa_flags = SA_SIGINFO | SA_NODEFER;
      ::sigemptyset(&action.sa_mask);
      ::sigaction(SIGBUS, &action, &before);
    });
  }
};

// Called by the signal handler: puts zeroes there, if it is here.
bool Window::patch(const std::byte* address) {
  if (address < start_ || address >= start_ + bytes_) return false;
  const std::size_t page = page_bytes();
  const auto offset = static_cast<std::size_t>(address - start_) / page * page;
  broken_ = true;
  return ::mmap(start_ + offset, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
         MAP_FAILED;
}

static bool enlist(Window* window) {
  for (auto& slot : shown) {
    Window* none = nullptr;
    if (slot.compare_exchange_strong(none, window)) return true;
  }
  return false;
}

Bytes Window::show(int descriptor, std::uint64_t offset, std::uint64_t length) {
  close();
  struct stat status{};
  if (length == 0 || ::fstat(descriptor, &status) < 0 || status.st_size < 0) return {};
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (offset > size || length > size - offset) return {};
  WindowSignal::install();

  const std::uint64_t lead = offset % page_bytes();
  void* at = ::mmap(nullptr, lead + length, PROT_READ, MAP_SHARED | MAP_POPULATE, descriptor,
                    static_cast<off_t>(offset - lead));
  if (at == MAP_FAILED) return {};
  start_ = static_cast<std::byte*>(at);
  bytes_ = align_up(lead + length, page_bytes());
  broken_ = false;
  if (!enlist(this)) {
    close();
    return {};
  }
  return {start_ + lead, length};
}

void Window::close() {
  if (start_ == nullptr) return;
  for (auto& slot : shown) {
    Window* self = this;
    if (slot.compare_exchange_strong(self, nullptr)) break;
  }
  ::munmap(start_, bytes_);
  start_ = nullptr;
  bytes_ = 0;
}

}  // namespace sim::storage
