// Against published vectors and OpenSSL's own implementations of the same standards.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>
#include <string>
#include <vector>

#include "sim/crypto/af_split.h"
#include "sim/crypto/cipher.h"
#include "sim/crypto/hash.h"
#include "sim/crypto/luks_keys.h"

namespace sim::crypto {
namespace {

Bytes bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string hex(Bytes bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return text;
}

std::vector<std::byte> counting(std::size_t size, unsigned from = 0) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(from + i * 7 + i / 256);
  return bytes;
}

// A source of "chance" that is the same every time.
Random steady() {
  return [state = std::uint32_t{1}](MutableBytes bytes) mutable {
    for (std::byte& byte : bytes) {
      state = state * 1664525 + 1013904223;
      byte = static_cast<std::byte>(state >> 24);
    }
  };
}

TEST(HashTest, DigestsOfAbc) {  // FIPS 180-4's, RFC 1321's and RIPEMD-160's own example
  const std::pair<const char*, const char*> expected[] = {
      {"md5", "900150983cd24fb0d6963f7d28e17f72"},
      {"sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"},
      {"sha224", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"},
      {"sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"sha384",
       "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c"
       "8"
       "25a7"},
      {"sha512",
       "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3f"
       "e"
       "ebbd454d4423643ce80e2a9ac94fa54ca49f"},
      {"ripemd160", "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"},
  };
  for (const auto& [name, digest] : expected) {
    const Hash* hash = Hash::find(name);
    ASSERT_NE(hash, nullptr) << name;
    std::vector<std::byte> out(hash->size());
    hash->digest({bytes_of("a"), bytes_of("bc")}, out);
    EXPECT_EQ(hex(out), digest) << name;
  }
  EXPECT_EQ(Hash::find("SHA256"), nullptr);
  EXPECT_EQ(Hash::find(""), nullptr);
}

TEST(HashTest, Pbkdf2) {
  std::vector<std::byte> out(20);
  Hash::find("sha1")->pbkdf2(bytes_of("password"), bytes_of("salt"), 2, out);  // RFC 6070
  EXPECT_EQ(hex(out), "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957");
  const std::string longer(200, 'x');  // more than a block of the hash
  for (const char* name : {"md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160"}) {
    const EVP_MD* md = EVP_get_digestbyname(name);
    ASSERT_NE(md, nullptr) << name;
    for (const std::string& password : {std::string("secret"), longer}) {
      std::vector<std::byte> ours(100);
      std::vector<unsigned char> theirs(100);
      Hash::find(name)->pbkdf2(bytes_of(password), bytes_of("0123456789"), 37, ours);
      ASSERT_EQ(PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                                  reinterpret_cast<const unsigned char*>("0123456789"), 10, 37, md,
                                  100, theirs.data()),
                1);
      EXPECT_EQ(hex(ours), hex(std::as_bytes(std::span(theirs)))) << name;
    }
  }
}

// One sector by OpenSSL.
std::vector<std::byte> by_openssl(const EVP_CIPHER* cipher, Bytes key, Bytes iv, Bytes data) {
  std::vector<std::byte> out(data.size() + 32);
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  const auto* raw_key = reinterpret_cast<const unsigned char*>(key.data());
  const auto* raw_iv = reinterpret_cast<const unsigned char*>(iv.data());
  int length = 0;
  EXPECT_EQ(EVP_EncryptInit_ex(context, cipher, nullptr, raw_key, raw_iv), 1);
  EVP_CIPHER_CTX_set_padding(context, 0);
  EXPECT_EQ(EVP_EncryptUpdate(context, reinterpret_cast<unsigned char*>(out.data()), &length,
                              reinterpret_cast<const unsigned char*>(data.data()),
                              static_cast<int>(data.size())),
            1);
  EVP_CIPHER_CTX_free(context);
  out.resize(static_cast<std::size_t>(length));
  return out;
}

TEST(CipherTest, AsOpenSslDoesEverySector) {
  struct Case {
    const char *algorithm, *mode;
    const EVP_CIPHER* theirs;
  };
  const Case cases[] = {
      {"aes-128", "xts", EVP_aes_128_xts()}, {"aes-256", "xts", EVP_aes_256_xts()},
      {"aes-128", "cbc", EVP_aes_128_cbc()}, {"aes-192", "cbc", EVP_aes_192_cbc()},
      {"aes-256", "cbc", EVP_aes_256_cbc()}, {"aes-128", "ecb", EVP_aes_128_ecb()},
      {"aes-192", "ecb", EVP_aes_192_ecb()}, {"aes-256", "ctr", EVP_aes_256_ctr()},
  };
  for (const Case& one : cases) {
    for (const char* ivgen : {"plain", "plain64"}) {
      const CipherSpec spec{.algorithm = one.algorithm, .mode = one.mode, .ivgen = ivgen};
      const std::vector<std::byte> key = counting(key_bytes(spec), 3);
      auto cipher = make_cipher(spec, key);
      ASSERT_TRUE(cipher.ok()) << cipher.error().desc;
      const std::uint64_t sector = 0x123456789;  // more than 32 bits
      const std::vector<std::byte> plain = counting(1024);
      std::vector<std::byte> data = plain;
      (*cipher)->encrypt(sector, data);
      for (std::uint64_t i = 0; i < 2; ++i) {
        std::vector<std::byte> iv(16);
        for (std::size_t k = 0; k < (spec.ivgen == "plain" ? 4U : 8U); ++k)
          iv[k] = static_cast<std::byte>((sector + i) >> (8 * k));
        EXPECT_EQ(hex(Bytes(data).subspan(512 * i, 512)),
                  hex(by_openssl(one.theirs, key, iv, Bytes(plain).subspan(512 * i, 512))))
            << one.algorithm << " " << one.mode << " " << ivgen << " sector " << i;
      }
      (*cipher)->decrypt(sector, data);
      EXPECT_EQ(data, plain);
    }
  }
}

TEST(CipherTest, RefusesWhatDoesNotFit) {
  const auto refusal = [](const CipherSpec& spec, std::size_t bytes) {
    const auto made = make_cipher(spec, std::vector<std::byte>(bytes));
    return made.ok() ? std::string() : made.error().desc;
  };
  EXPECT_EQ(refusal({.algorithm = "serpent-256"}, 64), "Algorithm 'serpent-256' not supported");
  EXPECT_EQ(refusal({}, 63), "XTS cipher key length should be a multiple of 2");
  EXPECT_EQ(refusal({}, 62), "Cipher key length 62 should be 64");
  EXPECT_EQ(refusal({.ivgen = "essiv", .ivgen_hash = "sha1"}, 64),
            "No AES cipher with key size 20 available");
  EXPECT_EQ(refusal({}, 64), "");  // both halves of the key the same
}

TEST(AfSplitTest, MergesWhatWasSplit) {
  for (const char* name : {"sha1", "sha256", "sha512"}) {
    for (const std::size_t size : {16U, 24U, 64U}) {
      const std::vector<std::byte> key = counting(size, 9);
      std::vector<std::byte> split(size * 50), merged(size);
      af_split(*Hash::find(name), key, steady(), split);
      af_merge(*Hash::find(name), split, merged);
      EXPECT_EQ(merged, key) << name;
      split[size * 3] ^= std::byte{1};  // every stripe counts
      af_merge(*Hash::find(name), split, merged);
      EXPECT_NE(merged, key) << name;
    }
  }
}

TEST(LuksTest, HeaderAndKeys) {
  const auto area = make_luks_area({.iterations = 2000}, "secret", steady());
  ASSERT_TRUE(area.ok());
  EXPECT_EQ(area->size(), 4040U * 512);  // QEMU's
  auto header = parse_luks(*area);
  ASSERT_TRUE(header.ok()) << header.error().desc;
  EXPECT_EQ(header->slots[7].material_sector, 3536U);
  EXPECT_EQ(header->iterations, 1000U);
  const auto bytes = serialise_luks(*header);
  EXPECT_TRUE(std::ranges::equal(bytes, Bytes(*area).first(bytes.size())));

  const Bytes material = Bytes(*area).subspan(std::size_t{8} * 512, header->material_bytes());
  const auto wrong = open_slot(*header, 0, material, "Secret");
  ASSERT_TRUE(wrong.ok());
  EXPECT_FALSE(wrong->has_value());
  const auto key = open_slot(*header, 0, material, "secret");
  ASSERT_TRUE(key.ok());
  ASSERT_TRUE(key->has_value());
  const auto other = fill_slot(*header, 3, **key, "another", 1500, steady());
  ASSERT_TRUE(other.ok());
  const auto again = open_slot(*header, 3, *other, "another");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*again, *key);
}

}  // namespace
}  // namespace sim::crypto
