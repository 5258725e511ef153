#include "sim/storage/unfinished.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <climits>

namespace sim::storage {

namespace {

// Files that are being made, as a signal handler can read it; those that are too many, or whose
// names are too long, are not remembered.
class Unfinished {
 public:
  void add(const std::string& path) {
    for (Name& name : names_) {
      bool free = false;
      if (path.size() >= name.path.size() || !name.taken.compare_exchange_strong(free, true))
        continue;
      path.copy(name.path.data(), path.size());
      name.path.at(path.size()) = '\0';
      name.complete = true;
      return;
    }
  }
  void drop(const std::string& path) {
    for (Name& name : names_)
      if (name.complete && path == name.path.data()) {
        name.complete = false;
        name.taken = false;
      }
  }
  void remove() noexcept {
    for (const Name& name : names_)
      if (name.complete) (void)::unlink(name.path.data());
  }

 private:
  struct Name {
    std::atomic<bool> taken = false, complete = false;
    std::array<char, PATH_MAX> path{};
  };
  std::array<Name, 8> names_;
};
Unfinished unfinished;  // NOLINT: a signal handler has nothing else

}  // namespace

void remember_unfinished(const std::string& path) { unfinished.add(path); }
void forget_unfinished(const std::string& path) { unfinished.drop(path); }
void remove_unfinished() noexcept { unfinished.remove(); }

}  // namespace sim::storage
