#include "sim/crypto/cipher.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <vector>

#include "sim/base/check.h"
#include "sim/base/text.h"
#include "sim/crypto/hash.h"

namespace sim::crypto {

namespace {

constexpr std::size_t kBlock = 16;  // of AES
using Block = std::array<std::byte, kBlock>;

constexpr auto kAlgorithms = std::to_array<CipherAlgorithm>({
    {"aes-128", "aes", 16, true},
    {"aes-192", "aes", 24, true},
    {"aes-256", "aes", 32, true},
    {"cast5-128", "cast5", 16, false},
    {"serpent-128", "serpent", 16, false},
    {"serpent-192", "serpent", 24, false},
    {"serpent-256", "serpent", 32, false},
    {"twofish-128", "twofish", 16, false},
    {"twofish-192", "twofish", 24, false},
    {"twofish-256", "twofish", 32, false},
});

const unsigned char* raw(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}
unsigned char* raw(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }

enum class Direction : unsigned char { decrypt, encrypt };
enum class Mode : unsigned char { ecb, cbc, ctr };

const EVP_CIPHER* evp_cipher(Mode mode, std::size_t key_bytes) {
  const bool small = key_bytes == 16;
  const bool middle = key_bytes == 24;
  switch (mode) {
    case Mode::ecb:
      return small ? EVP_aes_128_ecb() : middle ? EVP_aes_192_ecb() : EVP_aes_256_ecb();
    case Mode::cbc:
      return small ? EVP_aes_128_cbc() : middle ? EVP_aes_192_cbc() : EVP_aes_256_cbc();
    default:
      return small ? EVP_aes_128_ctr() : middle ? EVP_aes_192_ctr() : EVP_aes_256_ctr();
  }
}

// AES in one mode and direction, over whole blocks in place.
class Aes {
 public:
  Aes(Mode mode, Direction direction, Bytes key) : context_(EVP_CIPHER_CTX_new()) {
    CHECK(context_ != nullptr);
    CHECK(EVP_CipherInit_ex(context_.get(), evp_cipher(mode, key.size()), nullptr, raw(key.data()),
                            nullptr, direction == Direction::encrypt ? 1 : 0) == 1);
    CHECK(EVP_CIPHER_CTX_set_padding(context_.get(), 0) == 1);
  }
  void start(const Block& iv) const {
    CHECK(EVP_CipherInit_ex(context_.get(), nullptr, nullptr, nullptr, raw(iv.data()), -1) == 1);
  }
  void run(MutableBytes data) const {
    int done = 0;
    CHECK(EVP_CipherUpdate(context_.get(), raw(data.data()), &done, raw(data.data()),
                           static_cast<int>(data.size())) == 1);
    CHECK(static_cast<std::size_t>(done) == data.size());
  }

 private:
  struct Free {
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
  };
  std::unique_ptr<EVP_CIPHER_CTX, Free> context_;
};

// The initialisation vector of a sector: its number, little-endian, in 4 bytes (plain) or 8
// (plain64), zeroes behind; essiv encrypts the latter with a hash of the key.
class IvGenerator {
 public:
  IvGenerator(const CipherSpec& spec, Bytes key) : short_(spec.ivgen == "plain") {
    if (spec.ivgen != "essiv") return;
    const Hash* hash = Hash::find(spec.ivgen_hash);
    std::vector<std::byte> salt(hash->size());
    hash->digest({key}, salt);
    essiv_.emplace(Mode::ecb, Direction::encrypt, salt);
  }
  Block of(std::uint64_t sector) const {
    Block iv{};
    for (std::size_t i = 0; i < (short_ ? 4U : 8U); ++i)
      iv[i] = static_cast<std::byte>(sector >> (8 * i));
    if (essiv_) essiv_->run(iv);
    return iv;
  }

 private:
  bool short_;
  std::optional<Aes> essiv_;
};

// ECB, CBC and CTR: one call for a sector.
class PlainCipher final : public SectorCipher {
 public:
  PlainCipher(Mode mode, const CipherSpec& spec, Bytes key)
      : with_iv_(mode != Mode::ecb),
        ivs_(spec, key),
        encrypt_(mode, Direction::encrypt, key),
        decrypt_(mode, Direction::decrypt, key) {}
  void encrypt(std::uint64_t sector, MutableBytes data) const override {
    run(encrypt_, sector, data);
  }
  void decrypt(std::uint64_t sector, MutableBytes data) const override {
    run(decrypt_, sector, data);
  }

 private:
  void run(const Aes& aes, std::uint64_t sector, MutableBytes data) const {
    for (std::size_t at = 0; at < data.size(); at += kSector, ++sector) {
      if (with_iv_) aes.start(ivs_.of(sector));
      aes.run(data.subspan(at, kSector));
    }
  }
  bool with_iv_;
  IvGenerator ivs_;
  Aes encrypt_, decrypt_;
};

// XTS (IEEE 1619) over ECB: every length of key, and halves that are the same, which OpenSSL's own
// refuses and QEMU takes.
class XtsCipher final : public SectorCipher {
 public:
  XtsCipher(const CipherSpec& spec, Bytes key)
      : ivs_(spec, key),
        encrypt_(Mode::ecb, Direction::encrypt, key.first(key.size() / 2)),
        decrypt_(Mode::ecb, Direction::decrypt, key.first(key.size() / 2)),
        tweak_(Mode::ecb, Direction::encrypt, key.subspan(key.size() / 2)) {}
  void encrypt(std::uint64_t sector, MutableBytes data) const override {
    run(encrypt_, sector, data);
  }
  void decrypt(std::uint64_t sector, MutableBytes data) const override {
    run(decrypt_, sector, data);
  }

 private:
  void run(const Aes& aes, std::uint64_t sector, MutableBytes data) const {
    for (std::size_t at = 0; at < data.size(); at += kSector, ++sector) {
      const std::array<std::byte, kSector> mask = mask_of(sector);
      const MutableBytes part = data.subspan(at, kSector);
      for (std::size_t i = 0; i < kSector; ++i) part[i] ^= mask[i];
      aes.run(part);
      for (std::size_t i = 0; i < kSector; ++i) part[i] ^= mask[i];
    }
  }

  // The tweaks of a sector's blocks: each is the one before times x in GF(2^128).
  std::array<std::byte, kSector> mask_of(std::uint64_t sector) const {
    Block tweak = ivs_.of(sector);
    tweak_.run(tweak);
    std::array<std::byte, kSector> mask;
    for (std::size_t at = 0; at < kSector; at += kBlock) {
      std::ranges::copy(tweak, mask.begin() + static_cast<std::ptrdiff_t>(at));
      unsigned carry = 0;
      for (std::byte& byte : tweak) {
        const unsigned shifted = (std::to_integer<unsigned>(byte) << 1) | carry;
        byte = static_cast<std::byte>(shifted);
        carry = shifted >> 8;
      }
      if (carry != 0) tweak[0] ^= std::byte{0x87};
    }
    return mask;
  }

  IvGenerator ivs_;
  Aes encrypt_, decrypt_, tweak_;
};

Error refuse(std::string text) { return {ErrorClass::generic, std::move(text), EINVAL}; }

}  // namespace

const CipherAlgorithm* find_cipher(std::string_view name) {
  const auto found = std::ranges::find(kAlgorithms, name, &CipherAlgorithm::name);
  return found == kAlgorithms.end() ? nullptr : &*found;
}

const CipherAlgorithm* find_cipher(std::string_view luks_name, std::size_t key_bytes) {
  const auto found = std::ranges::find_if(kAlgorithms, [&](const CipherAlgorithm& algorithm) {
    return algorithm.luks_name == luks_name && algorithm.key_bytes == key_bytes;
  });
  return found == kAlgorithms.end() ? nullptr : &*found;
}

bool is_cipher_mode(std::string_view name) { return is_listed("ecb|cbc|xts|ctr", name); }
bool is_ivgen(std::string_view name) { return is_listed("plain|plain64|essiv", name); }

std::size_t key_bytes(const CipherSpec& spec) {
  const CipherAlgorithm* algorithm = find_cipher(spec.algorithm);
  if (algorithm == nullptr) return 0;
  return spec.mode == "xts" ? 2 * algorithm->key_bytes : algorithm->key_bytes;
}

Result<> check_spec(const CipherSpec& spec) {
  const CipherAlgorithm* algorithm = find_cipher(spec.algorithm);
  if (algorithm == nullptr || !algorithm->available)
    return refuse(fmt::format("Algorithm '{}' not supported", spec.algorithm));
  if (!is_cipher_mode(spec.mode))
    return refuse(fmt::format("Cipher mode '{}' not supported", spec.mode));
  if (!is_ivgen(spec.ivgen))
    return refuse(fmt::format("IV generator '{}' not supported", spec.ivgen));
  if (spec.ivgen != "essiv") return ok();
  const Hash* hash = Hash::find(spec.ivgen_hash);
  if (hash == nullptr)
    return refuse(fmt::format("Hash algorithm '{}' not supported", spec.ivgen_hash));
  if (find_cipher("aes", hash->size()) == nullptr)
    return refuse(fmt::format("No AES cipher with key size {} available", hash->size()));
  return ok();
}

Result<std::unique_ptr<SectorCipher>> make_cipher(const CipherSpec& spec, Bytes key) {
  TRY_OK(check_spec(spec));
  if (spec.mode == "xts" && key.size() % 2 != 0)
    return refuse("XTS cipher key length should be a multiple of 2");
  if (key.size() != key_bytes(spec))
    return refuse(fmt::format("Cipher key length {} should be {}", key.size(), key_bytes(spec)));
  if (spec.mode == "xts") return std::make_unique<XtsCipher>(spec, key);
  const Mode mode = spec.mode == "ecb" ? Mode::ecb : spec.mode == "cbc" ? Mode::cbc : Mode::ctr;
  return std::make_unique<PlainCipher>(mode, spec, key);
}

}  // namespace sim::crypto
