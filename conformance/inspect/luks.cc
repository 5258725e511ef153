#include "conformance/inspect/luks.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>

#include "conformance/inspect/qcow2.h"
#include "sim/base/check.h"

namespace conformance::inspect {

namespace {

constexpr std::size_t kHeaderBytes = 592;
constexpr std::size_t kSaltBytes = 32;
constexpr std::size_t kDigestBytes = 20;
constexpr std::size_t kTextBytes = 32;
constexpr std::size_t kSlots = 8;
constexpr std::size_t kSlotsAt = 208;
constexpr std::size_t kSlotBytes = 48;
constexpr std::uint32_t kActive = 0x00ac71f3;
constexpr std::uint32_t kStripes = 4000;
// More than QEMU makes in its two seconds on a fast machine; a header may say 2^32.
constexpr std::uint32_t kMostIterations = 40'000'000;

std::string text_at(sim::Bytes bytes, std::size_t where) {
  const auto* const text = reinterpret_cast<const char*>(bytes.data() + where);
  return {text, ::strnlen(text, kTextBytes)};
}

std::vector<std::byte> pbkdf2(const EVP_MD* hash, sim::Bytes password, sim::Bytes salt,
                              std::uint32_t iterations, std::size_t length) {
  std::vector<std::byte> key(length);
  const int done = ::PKCS5_PBKDF2_HMAC(
      reinterpret_cast<const char*>(password.data()), static_cast<int>(password.size()),
      reinterpret_cast<const unsigned char*>(salt.data()), static_cast<int>(salt.size()),
      static_cast<int>(iterations), hash, static_cast<int>(length),
      reinterpret_cast<unsigned char*>(key.data()));
  CHECK(done == 1, "OpenSSL computes PBKDF2");
  return key;
}

// Section 4 of the specification: each piece of the hash's length becomes the hash of its number,
// big-endian, and itself.
void diffuse(const EVP_MD* hash, sim::MutableBytes block) {
  const auto size = static_cast<std::size_t>(::EVP_MD_get_size(hash));
  for (std::uint32_t number = 0; !block.empty(); ++number) {
    const std::size_t part = std::min(size, block.size());
    std::vector<std::byte> input(4 + part);
    sim::store_be(sim::MutableBytes(input), 0, number);
    std::ranges::copy(block.first(part), input.begin() + 4);
    std::array<std::byte, EVP_MAX_MD_SIZE> digest{};
    const int done =
        ::EVP_Digest(input.data(), input.size(), reinterpret_cast<unsigned char*>(digest.data()),
                     nullptr, hash, nullptr);
    CHECK(done == 1, "OpenSSL computes a digest");
    std::copy_n(digest.begin(), part, block.begin());
    block = block.subspan(part);
  }
}

// The key that was split into stripes.
std::vector<std::byte> merge(const EVP_MD* hash, sim::Bytes split, std::size_t key_bytes) {
  std::vector<std::byte> key(key_bytes);
  for (std::size_t stripe = 0; stripe < kStripes; ++stripe) {
    if (stripe > 0) diffuse(hash, key);
    for (std::size_t i = 0; i < key_bytes; ++i) key[i] ^= split[stripe * key_bytes + i];
  }
  return key;
}

// The fields that unlocking needs.
struct Area {
  const EVP_MD* hash = nullptr;
  std::size_t key_bytes = 0;
  std::array<std::byte, kHeaderBytes> bytes{};
};

sim::Result<Area> read_area(const Files& files, const std::string& path, std::uint64_t offset) {
  Area area;
  TRY_OK(files.read(path, offset, area.bytes));
  const sim::Bytes bytes = area.bytes;
  constexpr std::array kMagic = {'L', 'U', 'K', 'S', '\xba', '\xbe', '\0', '\1'};
  if (std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0)
    return refuse(path, "its LUKS area is not of version 1");
  const std::string cipher = text_at(bytes, 8) + "-" + text_at(bytes, 8 + kTextBytes);
  const std::string hash = text_at(bytes, 8 + 2 * kTextBytes);
  area.hash = ::EVP_get_digestbyname(hash.c_str());
  area.key_bytes = sim::load_be<std::uint32_t>(bytes, 108);
  if (cipher != "aes-xts-plain64" || area.hash == nullptr ||
      (area.key_bytes != 32 && area.key_bytes != 64))
    return refuse(path, fmt::format("LUKS with {}, {} and keys of {} bytes is not supported here",
                                    cipher, hash, area.key_bytes));
  return area;
}

// Nothing: the passphrase does not open this slot.
sim::Result<std::optional<SectorKey>> try_slot(const Files& files, const std::string& path,
                                               std::uint64_t offset, const Area& area,
                                               std::size_t slot, sim::Bytes passphrase) {
  const sim::Bytes bytes = area.bytes;
  const sim::Bytes fields = bytes.subspan(kSlotsAt + slot * kSlotBytes, kSlotBytes);
  const auto iterations = sim::load_be<std::uint32_t>(fields, 4);
  const auto digest_iterations = sim::load_be<std::uint32_t>(bytes, 164);
  if (sim::load_be<std::uint32_t>(fields, 0) != kActive) return std::nullopt;
  if (iterations == 0 || iterations > kMostIterations || digest_iterations == 0 ||
      digest_iterations > kMostIterations || sim::load_be<std::uint32_t>(fields, 44) != kStripes)
    return refuse(path, "a LUKS slot has no iterations, too many, or other stripes than 4000");
  std::vector<std::byte> split(area.key_bytes * kStripes);  // whole sectors
  const auto material = sim::load_be<std::uint32_t>(fields, 40);
  TRY_OK(files.read(path, offset + SectorKey::kSector * material, split));
  SectorKey(
      pbkdf2(area.hash, passphrase, fields.subspan(8, kSaltBytes), iterations, area.key_bytes))
      .decrypt(0, split);
  std::vector<std::byte> master = merge(area.hash, split, area.key_bytes);
  const std::vector<std::byte> digest =
      pbkdf2(area.hash, master, bytes.subspan(132, kSaltBytes), digest_iterations, kDigestBytes);
  if (!std::ranges::equal(digest, bytes.subspan(112, kDigestBytes))) return std::nullopt;
  return SectorKey(std::move(master));
}

}  // namespace

void SectorKey::decrypt(std::uint64_t sector, sim::MutableBytes data) const {
  CHECK(data.size() % kSector == 0);
  const std::unique_ptr<EVP_CIPHER_CTX, decltype(&::EVP_CIPHER_CTX_free)> context(
      ::EVP_CIPHER_CTX_new(), ::EVP_CIPHER_CTX_free);
  const EVP_CIPHER* const cipher = key_.size() == 64 ? ::EVP_aes_256_xts() : ::EVP_aes_128_xts();
  const auto* const key = reinterpret_cast<const unsigned char*>(key_.data());
  int ready = ::EVP_DecryptInit_ex(context.get(), cipher, nullptr, key, nullptr);
  for (std::size_t at = 0; at < data.size(); at += kSector, ++sector) {
    std::array<unsigned char, 16> tweak{};  // the number, little-endian
    for (std::size_t i = 0; i < 8; ++i) tweak[i] = static_cast<unsigned char>(sector >> (8 * i));
    auto* const bytes = reinterpret_cast<unsigned char*>(data.data() + at);
    int length = 0;
    ready &= ::EVP_DecryptInit_ex(context.get(), nullptr, nullptr, nullptr, tweak.data());
    ready &= ::EVP_DecryptUpdate(context.get(), bytes, &length, bytes, kSector);
  }
  CHECK(ready == 1, "OpenSSL computes AES-XTS");
}

sim::Result<SectorKey> unlock_luks(const Files& files, const std::string& path,
                                   std::uint64_t offset, std::string_view passphrase) {
  TRY(const Area area, read_area(files, path, offset));
  for (std::size_t slot = 0; slot < kSlots; ++slot) {
    TRY(auto key, try_slot(files, path, offset, area, slot,
                           std::as_bytes(std::span(passphrase.data(), passphrase.size()))));
    if (key) return *std::move(key);
  }
  return refuse(path, "its passphrase is not the one that is known");
}

}  // namespace conformance::inspect
