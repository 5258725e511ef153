// OpenSSL's older interface, where a hash's state is a plain value: PBKDF2 copies one for every
// HMAC, and through EVP the copying takes longer than the hashing (measured, a factor of 2.4).
#define OPENSSL_SUPPRESS_DEPRECATED

#include "sim/crypto/hash.h"

#include <openssl/md5.h>
#include <openssl/ripemd.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>

namespace sim::crypto {

namespace {

struct Md5 {
  using State = MD5_CTX;
  static constexpr std::string_view kName = "md5";
  static constexpr std::size_t kSize = 16, kBlock = 64;
  static constexpr auto init = MD5_Init;
  static constexpr auto update = MD5_Update;
  static constexpr auto final = MD5_Final;
};
struct Sha1 {
  using State = SHA_CTX;
  static constexpr std::string_view kName = "sha1";
  static constexpr std::size_t kSize = 20, kBlock = 64;
  static constexpr auto init = SHA1_Init;
  static constexpr auto update = SHA1_Update;
  static constexpr auto final = SHA1_Final;
};
struct Sha224 {
  using State = SHA256_CTX;
  static constexpr std::string_view kName = "sha224";
  static constexpr std::size_t kSize = 28, kBlock = 64;
  static constexpr auto init = SHA224_Init;
  static constexpr auto update = SHA224_Update;
  static constexpr auto final = SHA224_Final;
};
struct Sha256 {
  using State = SHA256_CTX;
  static constexpr std::string_view kName = "sha256";
  static constexpr std::size_t kSize = 32, kBlock = 64;
  static constexpr auto init = SHA256_Init;
  static constexpr auto update = SHA256_Update;
  static constexpr auto final = SHA256_Final;
};
struct Sha384 {
  using State = SHA512_CTX;
  static constexpr std::string_view kName = "sha384";
  static constexpr std::size_t kSize = 48, kBlock = 128;
  static constexpr auto init = SHA384_Init;
  static constexpr auto update = SHA384_Update;
  static constexpr auto final = SHA384_Final;
};
struct Sha512 {
  using State = SHA512_CTX;
  static constexpr std::string_view kName = "sha512";
  static constexpr std::size_t kSize = 64, kBlock = 128;
  static constexpr auto init = SHA512_Init;
  static constexpr auto update = SHA512_Update;
  static constexpr auto final = SHA512_Final;
};
struct Ripemd160 {
  using State = RIPEMD160_CTX;
  static constexpr std::string_view kName = "ripemd160";
  static constexpr std::size_t kSize = 20, kBlock = 64;
  static constexpr auto init = RIPEMD160_Init;
  static constexpr auto update = RIPEMD160_Update;
  static constexpr auto final = RIPEMD160_Final;
};

template <class Kind>
class HashOf final : public Hash {
 public:
  std::string_view name() const override { return Kind::kName; }
  std::size_t size() const override { return Kind::kSize; }

  void digest(std::initializer_list<Bytes> parts, MutableBytes out) const override {
    State state;
    Kind::init(&state);
    for (const Bytes part : parts) Kind::update(&state, part.data(), part.size());
    finish(state, out.data());
  }

  void pbkdf2(Bytes password, Bytes salt, std::uint32_t iterations,
              MutableBytes out) const override {
    const Hmac hmac(*this, password);
    std::uint32_t number = 0;
    while (!out.empty()) {
      std::array<std::byte, 4> counter;
      store_be(MutableBytes(counter), 0, ++number);
      Digest last = hmac.of({salt, counter});
      Digest sum = last;
      for (std::uint32_t i = 1; i < iterations; ++i) {
        last = hmac.of({last});
        for (std::size_t k = 0; k < sum.size(); ++k) sum[k] ^= last[k];
      }
      const std::size_t part = std::min(out.size(), sum.size());
      std::ranges::copy(Bytes(sum).first(part), out.begin());
      out = out.subspan(part);
    }
  }

 private:
  using State = typename Kind::State;
  using Digest = std::array<std::byte, Kind::kSize>;

  static void finish(State& state, std::byte* out) {
    Kind::final(reinterpret_cast<unsigned char*>(out), &state);
  }

  // HMAC (RFC 2104) with the key already worked in.
  class Hmac {
   public:
    Hmac(const HashOf& hash, Bytes key) {
      std::array<std::byte, Kind::kBlock> block{};
      if (key.size() > block.size())
        hash.digest({key}, MutableBytes(block).first(Kind::kSize));
      else
        std::ranges::copy(key, block.begin());
      start(inner_, block, std::byte{0x36});
      start(outer_, block, std::byte{0x5c});
    }

    Digest of(std::initializer_list<Bytes> parts) const {
      Digest digest;
      State state = inner_;
      for (const Bytes part : parts) Kind::update(&state, part.data(), part.size());
      finish(state, digest.data());
      state = outer_;
      Kind::update(&state, digest.data(), digest.size());
      finish(state, digest.data());
      return digest;
    }

   private:
    static void start(State& state, std::array<std::byte, Kind::kBlock> key, std::byte pad) {
      for (std::byte& byte : key) byte ^= pad;
      Kind::init(&state);
      Kind::update(&state, key.data(), key.size());
    }
    State inner_, outer_;
  };
};

}  // namespace

const Hash* Hash::find(std::string_view name) {
  static const HashOf<Md5> md5;
  static const HashOf<Sha1> sha1;
  static const HashOf<Sha224> sha224;
  static const HashOf<Sha256> sha256;
  static const HashOf<Sha384> sha384;
  static const HashOf<Sha512> sha512;
  static const HashOf<Ripemd160> ripemd160;
  for (const Hash* hash : std::initializer_list<const Hash*>{&md5, &sha1, &sha224, &sha256, &sha384,
                                                             &sha512, &ripemd160})
    if (hash->name() == name) return hash;
  return nullptr;
}

}  // namespace sim::crypto
