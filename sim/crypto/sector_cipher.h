// Encryption of a disk in sectors of 512 bytes.

#pragma once

#include <cstdint>

#include "sim/base/bytes.h"

namespace sim::crypto {

// Changes whole sectors in place; `sector` is the number of the first one, from which the
// initialisation vector is made.  The caller guarantees data.size() % 512 == 0.  Cannot fail once
// it has been made.  Not for several threads.
class SectorCipher {
 public:
  static constexpr std::uint64_t kSector = 512;
  virtual ~SectorCipher() = default;
  virtual void encrypt(std::uint64_t sector, MutableBytes data) const = 0;
  virtual void decrypt(std::uint64_t sector, MutableBytes data) const = 0;
};

}  // namespace sim::crypto
