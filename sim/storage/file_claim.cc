// QEMU's image locks on real files (docs/decisions/locks.md).

#include <fcntl.h>

#include <cerrno>
#include <string>
#include <vector>

#include "sim/storage/file.h"

namespace sim::storage {

namespace {

// QEMU's permissions as it locks them (its file-posix.c; measured on 7.2 with strace): byte 100 + n
// says that a permission is held, 200 + n that it is not shared.
struct Permission {
  off_t number;
  const char* name;
};
constexpr Permission kConsistentRead{0, "consistent read"};
constexpr Permission kWrite{1, "write"};
constexpr Permission kResize{3, "resize"};
constexpr off_t kHeld = 100, kUnshared = 200;

class Locks {
 public:
  explicit Locks(int descriptor) : descriptor_(descriptor) {}

  // False: the file system has no such locks.
  bool take(off_t byte) const {
    struct flock lock = about(byte, F_RDLCK);
    return ::fcntl(descriptor_, F_OFD_SETLK, &lock) == 0;
  }
  // Somebody else has locked the byte.
  bool meets(off_t byte) const {
    struct flock lock = about(byte, F_WRLCK);
    return ::fcntl(descriptor_, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  }

 private:
  static struct flock about(off_t byte, short type) {
    struct flock lock{};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = byte;
    lock.l_len = 1;
    return lock;
  }
  int descriptor_;
};

}  // namespace

static Error in_use(std::string text) { return {ErrorClass::generic, std::move(text), EAGAIN}; }

Result<> RealFile::claim(const Claim& claim) {
  const Locks locks(descriptor_);
  std::vector<Permission> held, unshared;
  if (claim.reads) held.push_back(kConsistentRead);
  if (claim.writes) held.insert(held.end(), {kWrite, kResize});
  if (!claim.others_may_write) unshared.push_back(kWrite);
  if (!claim.others_may_resize) unshared.push_back(kResize);
  for (const Permission& permission : held)
    if (!locks.take(kHeld + permission.number)) return ok();
  for (const Permission& permission : unshared)
    if (!locks.take(kUnshared + permission.number)) return ok();
  for (const Permission& permission : held)
    if (locks.meets(kUnshared + permission.number))
      return in_use(std::string("Failed to get \"") + permission.name + "\" lock");
  for (const Permission& permission : unshared)
    if (locks.meets(kHeld + permission.number))
      return in_use(std::string("Failed to get shared \"") + permission.name + "\" lock");
  return ok();
}

}  // namespace sim::storage
