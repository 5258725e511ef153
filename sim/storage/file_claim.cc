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
constexpr Permission kAll[] = {kConsistentRead, kWrite, {2, "write unchanged"}, kResize};
constexpr off_t kHeld = 100, kUnshared = 200;

class Locks {
 public:
  explicit Locks(int descriptor) : descriptor_(descriptor) {}

  // False: the file system has no such locks.
  bool take(off_t byte) const {
    struct flock lock = about(byte, F_RDLCK);
    return ::fcntl(descriptor_, F_OFD_SETLK, &lock) == 0;
  }
  void give_up(off_t byte) const {
    struct flock lock = about(byte, F_UNLCK);
    ::fcntl(descriptor_, F_OFD_SETLK, &lock);
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

static bool lists(unsigned bits, const Permission& permission) {
  return (bits >> permission.number & 1U) != 0;
}

void RealFile::hold(unsigned held, unsigned unshared) {
  if (!locks_) return;
  const Locks locks(descriptor_);
  for (const Permission& permission : kAll) {
    const off_t number = permission.number;
    lists(held, permission) ? (void)locks.take(kHeld + number) : locks.give_up(kHeld + number);
    lists(unshared, permission) ? (void)locks.take(kUnshared + number)
                                : locks.give_up(kUnshared + number);
  }
  held_ = held;
  unshared_ = unshared;
}

Result<> RealFile::try_hold(unsigned held, unsigned unshared) {
  if (!locks_) return ok();
  const unsigned held_before = held_, unshared_before = unshared_;
  hold(held | held_, unshared | unshared_);
  held_ = held_before;
  unshared_ = unshared_before;
  const Locks locks(descriptor_);
  const auto refuse = [&](std::string text) {
    hold(held_, unshared_);
    return in_use(std::move(text));
  };
  for (const Permission& permission : kAll)
    if (lists(held, permission) && locks.meets(kUnshared + permission.number))
      return refuse(std::string("Failed to get \"") + permission.name + "\" lock");
  for (const Permission& permission : kAll)
    if (lists(unshared, permission) && locks.meets(kHeld + permission.number))
      return refuse(std::string("Failed to get shared \"") + permission.name + "\" lock");
  return ok();
}

}  // namespace sim::storage
