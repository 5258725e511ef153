// Reading what LUKS has encrypted: version 1 (the LUKS On-Disk Format Specification 1.2), as far as
// QEMU makes it by default: AES in XTS mode, its tweak the sector's number (plain64).  Shares
// nothing with sim/crypto but OpenSSL.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "conformance/target/files.h"
#include "sim/base/bytes.h"
#include "sim/base/result.h"

namespace conformance::inspect {

// A key of AES-XTS: 32 or 64 bytes, half of them for the tweak.
class SectorKey {
 public:
  static constexpr std::uint64_t kSector = 512;
  explicit SectorKey(std::vector<std::byte> key) : key_(std::move(key)) {}
  // Whole sectors, in place; `sector` is the number of the first one.
  void decrypt(std::uint64_t sector, sim::MutableBytes data) const;

 private:
  std::vector<std::byte> key_;
};

// The master key of the LUKS area that begins at `offset` of the file.  An Error names the file and
// the reason, never the passphrase.
sim::Result<SectorKey> unlock_luks(const Files& files, const std::string& path,
                                   std::uint64_t offset, std::string_view passphrase);

}  // namespace conformance::inspect
