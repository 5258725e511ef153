// The encrypted image's key: from the header and a passphrase to a cipher for its data.

#pragma once

#include <memory>
#include <string>

#include "sim/base/result.h"
#include "sim/crypto/sector_cipher.h"
#include "sim/qcow2/header.h"
#include "sim/storage/storage.h"
#include "sim/world/task.h"

namespace sim::qcow2 {

// The cipher of an image with crypt_method 1 (legacy AES) or 2 (LUKS1 beneath the encryption
// extension); null for an image without encryption.  EPERM with QEMU's words for a wrong
// passphrase.
Task<Result<std::shared_ptr<const crypto::SectorCipher>>> unlock(storage::Storage& file,
                                                                 const Header& header,
                                                                 std::string passphrase);

}  // namespace sim::qcow2
