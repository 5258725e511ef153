#include "sim/crypto/luks_keys.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/crypto/af_split.h"

namespace sim::crypto {

namespace {

Bytes bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::array<std::byte, luks::kDigestBytes> digest_of(const LuksHeader& header, Bytes master) {
  std::array<std::byte, luks::kDigestBytes> digest;
  header.hash->pbkdf2(master, header.salt, header.iterations, digest);
  return digest;
}

Result<std::unique_ptr<SectorCipher>> slot_cipher(const LuksHeader& header, const LuksSlot& slot,
                                                  std::string_view passphrase) {
  // What cannot be is refused before it costs anything.
  TRY_OK(check_spec(header.cipher));
  Key key(header.key_bytes);
  header.hash->pbkdf2(bytes_of(passphrase), slot.salt, slot.iterations, key);
  return make_cipher(header.cipher, key);
}

// A UUID of version 4, which is random but for 6 bits (RFC 4122).
std::string random_uuid(const Random& random) {
  std::array<std::byte, 16> bytes;
  random(bytes);
  bytes[6] = (bytes[6] & std::byte{0x0f}) | std::byte{0x40};
  bytes[8] = (bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", std::to_integer<unsigned>(bytes[i]));
  }
  return text;
}

std::uint32_t clamp_iterations(std::uint64_t iterations) {
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(iterations, luks::kIterationsMin, UINT32_MAX));
}

Error not_a(std::string_view option, const std::string& value) {
  return {ErrorClass::generic,
          fmt::format("Parameter '{}' does not accept value '{}'", option, value), EINVAL};
}

}  // namespace

std::uint32_t iterations_for(std::uint64_t iter_time_ms) {
  if (iter_time_ms == 0) return luks::kIterations;
  const auto product = checked_mul(iter_time_ms, luks::kIterations);
  return clamp_iterations(product.value_or(UINT64_MAX) / luks::kIterTimeDefault);
}

Result<LuksHeader> plan_luks(const LuksOptions& options) {
  const auto given = [](const std::string& value, const char* otherwise) {
    return value.empty() ? std::string(otherwise) : value;
  };
  LuksHeader header;
  CipherSpec& spec = header.cipher;
  spec.algorithm = given(options.cipher_alg, "aes-256");
  spec.mode = given(options.cipher_mode, "xts");
  spec.ivgen = given(options.ivgen_alg, "plain64");
  spec.ivgen_hash = options.ivgen_hash_alg;
  const std::string hash = given(options.hash_alg, "sha256");
  // QEMU knows these two, too, but not within LUKS.
  if (find_cipher(spec.algorithm) == nullptr && spec.algorithm != "des" && spec.algorithm != "3des")
    return not_a("cipher-alg", spec.algorithm);
  if (!is_cipher_mode(spec.mode)) return not_a("cipher-mode", spec.mode);
  if (!is_ivgen(spec.ivgen)) return not_a("ivgen-alg", spec.ivgen);
  if (!spec.ivgen_hash.empty() && Hash::find(spec.ivgen_hash) == nullptr)
    return not_a("ivgen-hash-alg", spec.ivgen_hash);
  header.hash = Hash::find(hash);
  if (header.hash == nullptr) return not_a("hash-alg", hash);
  if (spec.ivgen == "essiv" && spec.ivgen_hash.empty()) spec.ivgen_hash = "sha256";
  TRY_OK(check_spec(spec));

  header.key_bytes = static_cast<std::uint32_t>(key_bytes(spec));
  std::uint64_t sector = luks::kHeaderSectors;
  for (LuksSlot& slot : header.slots) {
    slot.material_sector = static_cast<std::uint32_t>(sector);
    sector += header.slot_sectors();
  }
  header.payload_sector = static_cast<std::uint32_t>(sector);
  const std::uint64_t iterations = options.iterations == 0 ? luks::kIterations : options.iterations;
  header.iterations = clamp_iterations(iterations / luks::kSlots);
  return header;
}

std::uint64_t area_bytes(const LuksHeader& header) {
  return header.payload_sector * SectorCipher::kSector;
}

Result<std::vector<std::byte>> make_luks_area(const LuksOptions& options,
                                              std::string_view passphrase, const Random& random) {
  TRY(LuksHeader header, plan_luks(options));
  Key master(header.key_bytes);
  random(master);
  random(header.salt);
  header.uuid = random_uuid(random);
  header.digest = digest_of(header, master);
  TRY(const std::vector<std::byte> material,
      fill_slot(header, 0, master, passphrase,
                options.iterations == 0 ? luks::kIterations : options.iterations, random));
  std::vector<std::byte> area(area_bytes(header));
  std::ranges::copy(serialise_luks(header), area.begin());
  std::ranges::copy(
      material,
      MutableBytes(area).subspan(header.slots[0].material_sector * SectorCipher::kSector).begin());
  return area;
}

std::uint64_t effort_of(const LuksHeader& header, std::size_t slot) {
  return header.hash->effort(header.slots[slot].iterations, header.key_bytes) +
         header.hash->effort(header.iterations, luks::kDigestBytes);
}

Result<std::optional<Key>> open_slot(const LuksHeader& header, std::size_t slot, Bytes material,
                                     std::string_view passphrase) {
  TRY(const std::unique_ptr<SectorCipher> cipher,
      slot_cipher(header, header.slots[slot], passphrase));
  std::vector<std::byte> split(material.begin(), material.end());
  cipher->decrypt(0, split);
  Key master(header.key_bytes);
  af_merge(*header.hash, Bytes(split).first(master.size() * luks::kStripes), master);
  if (digest_of(header, master) != header.digest) return std::optional<Key>();
  return std::optional<Key>(std::move(master));
}

Result<std::vector<std::byte>> fill_slot(LuksHeader& header, std::size_t slot, const Key& master,
                                         std::string_view passphrase, std::uint64_t iterations,
                                         const Random& random) {
  LuksSlot filled = header.slots[slot];
  filled.active = true;
  filled.iterations = clamp_iterations(iterations);
  random(filled.salt);
  std::vector<std::byte> material(header.material_bytes());
  af_split(*header.hash, master, random,
           MutableBytes(material).first(master.size() * luks::kStripes));
  TRY(const std::unique_ptr<SectorCipher> cipher, slot_cipher(header, filled, passphrase));
  cipher->encrypt(0, material);
  header.slots[slot] = filled;
  return material;
}

}  // namespace sim::crypto
