// The header of LUKS version 1, as QEMU 7.2 reads and writes it (cryptsetup's "LUKS On-Disk Format
// Specification", version 1.2).
//
// A LUKS area begins with the header; behind it lies the key material of 8 slots, each the master
// key split into stripes and encrypted with a key that is derived from a passphrase.  Offsets count
// sectors of 512 bytes from the start of the area.

#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/result.h"
#include "sim/crypto/cipher.h"
#include "sim/crypto/hash.h"

namespace sim::crypto {

namespace luks {
inline constexpr std::size_t kHeaderBytes = 592;
inline constexpr std::uint32_t kSlots = 8;
inline constexpr std::size_t kSlotsAt = 208;  // byte of the header
inline constexpr std::size_t kSlotBytes = 48;
inline constexpr std::uint32_t kStripes = 4000;
inline constexpr std::size_t kSaltBytes = 32;
inline constexpr std::size_t kDigestBytes = 20;
// QEMU: the header's sectors, before which neither key material nor payload may begin; a slot's
// material takes a multiple of that.
inline constexpr std::uint32_t kHeaderSectors = 8;
}  // namespace luks

struct LuksSlot {
  bool active = false;
  std::uint32_t iterations = 0;  // of PBKDF2; more than 0 if active
  std::array<std::byte, luks::kSaltBytes> salt = {};
  std::uint32_t material_sector = 0;
  friend bool operator==(const LuksSlot&, const LuksSlot&) = default;
};

struct LuksHeader {
  CipherSpec cipher = {};
  const Hash* hash = nullptr;        // of the key derivation, the splitter and the digest
  std::uint32_t payload_sector = 0;  // means nothing within qcow2
  std::uint32_t key_bytes = 0;
  std::array<std::byte, luks::kDigestBytes> digest = {};  // of the master key
  std::array<std::byte, luks::kSaltBytes> salt = {};
  std::uint32_t iterations = 0;
  std::string uuid = {};
  std::array<LuksSlot, luks::kSlots> slots = {};

  // Bytes of one slot's key material, in whole sectors, and the sectors that are set aside for it.
  std::uint64_t material_bytes() const;
  std::uint64_t slot_sectors() const;
  friend bool operator==(const LuksHeader&, const LuksHeader&) = default;
};

// `bytes` holds kHeaderBytes.  Checked as QEMU 7.2 does when it opens an image, in its order and
// with its words; stricter in that no sum wraps around at 32 bits.  A cipher that QEMU knows and
// this room cannot compute is no error here.
Result<LuksHeader> parse_luks(Bytes bytes);

std::array<std::byte, luks::kHeaderBytes> serialise_luks(const LuksHeader& header);

}  // namespace sim::crypto
