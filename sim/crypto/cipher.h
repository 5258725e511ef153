// Which cipher, in which mode, with which initialisation vectors: by QEMU's names.

#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "sim/base/bytes.h"
#include "sim/base/result.h"
#include "sim/crypto/sector_cipher.h"

namespace sim::crypto {

struct CipherSpec {
  std::string algorithm = "aes-256";  // QAPI: QCryptoCipherAlgorithm
  std::string mode = "xts";           // QAPI: QCryptoCipherMode
  std::string ivgen = "plain64";      // QAPI: QCryptoIVGenAlgorithm
  std::string ivgen_hash = {};        // essiv: hashes the key; others keep it and do not use it
  friend bool operator==(const CipherSpec&, const CipherSpec&) = default;
};

// A cipher that QEMU knows and LUKS can name; only those of `available` can be computed here.
struct CipherAlgorithm {
  std::string_view name;       // QEMU's
  std::string_view luks_name;  // what the LUKS header calls it, whatever the length of its key
  std::size_t key_bytes = 0;
  bool available = false;
};
const CipherAlgorithm* find_cipher(std::string_view name);
const CipherAlgorithm* find_cipher(std::string_view luks_name, std::size_t key_bytes);

bool is_cipher_mode(std::string_view name);
bool is_ivgen(std::string_view name);

// Bytes of key that `spec` takes: XTS needs two.  0 if the algorithm is not known.
std::size_t key_bytes(const CipherSpec& spec);

// Refuses, with QEMU's words, what does not fit together or is not available.
Result<> check_spec(const CipherSpec& spec);

// `key` must have key_bytes(spec) bytes, else it is refused.
Result<std::unique_ptr<SectorCipher>> make_cipher(const CipherSpec& spec, Bytes key);

}  // namespace sim::crypto
