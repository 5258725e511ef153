// Encrypted images: from the header and a passphrase to a cipher for the data, and the keys in the
// LUKS area.
//
// Guest data is encrypted in sectors of 512 bytes, metadata and compressed clusters never.  The
// number of a sector, from which its initialisation vector is made, is the host offset / 512 with
// LUKS, the guest offset / 512 with legacy AES (measured on 7.2).

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/result.h"
#include "sim/crypto/luks.h"
#include "sim/crypto/sector_cipher.h"
#include "sim/qcow2/amend.h"
#include "sim/qcow2/create.h"
#include "sim/qcow2/header.h"
#include "sim/storage/storage.h"
#include "sim/world/task.h"

namespace sim::qcow2 {

// How many HMACs unlock() computes at most, or a header could make it run for hours: some seconds,
// and more than twice what an image takes that QEMU made here with its default of 2 s.
inline constexpr std::uint64_t kUnlockEffortMax = std::uint64_t{40} << 20;

// The LUKS header of an image with crypt_method 2; nothing for others.  QEMU checks it, with these
// words, whenever it opens such an image, with a key or without.
Task<Result<std::optional<crypto::LuksHeader>>> read_luks(storage::Storage& file,
                                                          const Header& header);

// The cipher of an image with crypt_method 1 (legacy AES) or 2 (LUKS1 beneath the encryption
// extension); null for an image without encryption.  EPERM with QEMU's words for a wrong
// passphrase.  Slots that would exceed kUnlockEffortMax are not tried, unless `lax`.
Task<Result<std::shared_ptr<const crypto::SectorCipher>>> unlock(storage::Storage& file,
                                                                 const Header& header,
                                                                 std::string passphrase,
                                                                 bool lax = false);

// The LUKS area of a new image: CryptoPointer::length bytes, to be stored in clusters of its own,
// the rest of which is zero.  `options.format` is luks.  Refuses in QEMU's words.
Result<std::vector<std::byte>> make_luks_area(const EncryptOptions& options);
// How long that will be; the same refusals, and no work.
Result<std::uint64_t> luks_area_bytes(const EncryptOptions& options);

// Changes the key slots as `qemu-img amend` does; refusals are QEMU's.  `unlock_secret` is the
// image's present passphrase.  A cut leaves the slot as it was or empty, unless `force`.
Task<Result<>> amend_key(storage::Storage& file, const Header& header, AmendOptions::Key change,
                         std::string unlock_secret, std::function<void(MutableBytes)> random);

}  // namespace sim::qcow2
