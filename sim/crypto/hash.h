// The hashes that LUKS names, and what LUKS derives from them.

#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "sim/base/bytes.h"

namespace sim::crypto {

class Hash {
 public:
  static constexpr std::size_t kMaxSize = 64;

  // By QEMU's name (QAPI: QCryptoHashAlgorithm), which LUKS headers use too: md5, sha1, sha224,
  // sha256, sha384, sha512, ripemd160.  Null for any other.  Never to be deleted.
  static const Hash* find(std::string_view name);

  virtual ~Hash() = default;
  virtual std::string_view name() const = 0;
  virtual std::size_t size() const = 0;  // bytes of a digest, at most kMaxSize

  // The digest of all parts, one after the other.  `out` holds size() bytes.
  virtual void digest(std::initializer_list<Bytes> parts, MutableBytes out) const = 0;

  // PBKDF2 (RFC 8018) with HMAC of this hash.  Takes time in proportion to effort().
  virtual void pbkdf2(Bytes password, Bytes salt, std::uint32_t iterations,
                      MutableBytes out) const = 0;

  // What pbkdf2 costs for `out_bytes` of key: HMACs to be computed.  At most 2^32 * 2^32.
  std::uint64_t effort(std::uint32_t iterations, std::uint32_t out_bytes) const {
    return std::uint64_t{iterations} * div_up(out_bytes, size());
  }
};

}  // namespace sim::crypto
