#include "sim/crypto/luks.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "sim/base/text.h"

namespace sim::crypto {

namespace {

// Places of the fields; all integers are big-endian.
namespace at {
constexpr std::size_t magic = 0;         // 6
constexpr std::size_t version = 6;       // 2
constexpr std::size_t cipher = 8;        // 32, ends with a NUL like the other texts
constexpr std::size_t mode = 40;         // 32: "mode-ivgen" or "mode-ivgen:hash"
constexpr std::size_t hash = 72;         // 32
constexpr std::size_t payload = 104;     // 4; sectors
constexpr std::size_t key_bytes = 108;   // 4
constexpr std::size_t digest = 112;      // 20
constexpr std::size_t salt = 132;        // 32
constexpr std::size_t iterations = 164;  // 4
constexpr std::size_t uuid = 168;        // 40
constexpr std::size_t slots = luks::kSlotsAt;
}  // namespace at
namespace in_slot {
constexpr std::size_t state = 0;       // 4
constexpr std::size_t iterations = 4;  // 4
constexpr std::size_t salt = 8;        // 32
constexpr std::size_t material = 40;   // 4; sectors
constexpr std::size_t stripes = 44;    // 4
constexpr std::size_t bytes = luks::kSlotBytes;
}  // namespace in_slot

constexpr std::array kMagic = {std::byte{'L'}, std::byte{'U'},  std::byte{'K'},
                               std::byte{'S'}, std::byte{0xba}, std::byte{0xbe}};
constexpr std::uint16_t kVersion = 1;
constexpr std::uint32_t kActive = 0x00ac71f3, kInactive = 0x0000dead;
constexpr std::size_t kTextBytes = 32, kUuidBytes = 40;

Error refuse(std::string text) { return {ErrorClass::generic, std::move(text), EINVAL}; }

// The text in a field, up to its NUL; nothing if there is none.
std::optional<std::string> text_at(Bytes bytes, std::size_t where, std::size_t room) {
  const Bytes field = bytes.subspan(where, room);
  const auto end = std::ranges::find(field, std::byte{0});
  if (end == field.end()) return std::nullopt;
  std::string text;
  for (auto byte = field.begin(); byte != end; ++byte) text.push_back(std::to_integer<char>(*byte));
  return text;
}

// The slots as stored, before anything is known of the cipher.
Result<> check_slots(Bytes bytes, const LuksHeader& header) {
  const std::uint64_t length = header.slot_sectors();
  for (std::size_t i = 0; i < luks::kSlots; ++i) {
    const std::size_t place = at::slots + i * in_slot::bytes;
    const LuksSlot& slot = header.slots[i];
    const auto stripes = load_be<std::uint32_t>(bytes, place + in_slot::stripes);
    const auto state = load_be<std::uint32_t>(bytes, place + in_slot::state);
    if (stripes != luks::kStripes)
      return refuse(
          fmt::format("Keyslot {} is corrupted (stripes {} != {})", i, stripes, luks::kStripes));
    if (slot.material_sector < luks::kHeaderSectors)
      return refuse(fmt::format("Keyslot {} is overlapping with the LUKS header", i));
    if (state != kActive && state != kInactive)
      return refuse(fmt::format("Keyslot {} state (active/disable) is corrupted", i));
    if (slot.active && slot.iterations == 0)
      return refuse(fmt::format("Keyslot {} iteration count is zero", i));
    if (slot.material_sector + length > header.payload_sector)
      return refuse(fmt::format("Keyslot {} is overlapping with the encrypted payload", i));
    for (std::size_t k = i + 1; k < luks::kSlots; ++k) {
      const std::uint64_t other = header.slots[k].material_sector;
      if (slot.material_sector < other + length && other < slot.material_sector + length)
        return refuse(fmt::format("Keyslots {} and {} are overlapping in the header", i, k));
    }
  }
  return ok();
}

// What the three texts name, in the order in which QEMU finds fault with them.
Result<> name_ciphers(LuksHeader& header, const std::string& cipher, const std::string& mode,
                      const std::string& hash) {
  const std::size_t dash = mode.find('-');
  if (dash == std::string::npos)
    return refuse(fmt::format("Unexpected cipher mode string format '{}'", mode));
  const std::size_t colon = mode.find(':', dash);
  CipherSpec& spec = header.cipher;
  spec.mode = mode.substr(0, dash);
  spec.ivgen = mode.substr(dash + 1, colon == std::string::npos ? colon : colon - dash - 1);
  spec.ivgen_hash = colon == std::string::npos ? std::string() : mode.substr(colon + 1);
  if (colon != std::string::npos && Hash::find(spec.ivgen_hash) == nullptr)
    return refuse(fmt::format("Hash algorithm '{}' not supported", spec.ivgen_hash));
  if (!is_cipher_mode(spec.mode))
    return refuse(fmt::format("Cipher mode '{}' not supported", spec.mode));
  const std::uint32_t bytes = spec.mode == "xts" ? header.key_bytes / 2 : header.key_bytes;
  const CipherAlgorithm* algorithm = find_cipher(cipher, bytes);
  if (algorithm == nullptr)
    return refuse(
        fmt::format("Algorithm '{}' with key size {} bytes not supported", cipher, bytes));
  spec.algorithm = algorithm->name;
  header.hash = Hash::find(hash);
  if (header.hash == nullptr) return refuse(fmt::format("Hash algorithm '{}' not supported", hash));
  if (!is_ivgen(spec.ivgen))
    return refuse(fmt::format("IV generator '{}' not supported", spec.ivgen));
  if (spec.ivgen != "essiv") return ok();
  if (spec.ivgen_hash.empty()) return refuse("Missing IV generator hash specification");
  const std::size_t essiv_bytes = Hash::find(spec.ivgen_hash)->size();
  if (find_cipher("aes", essiv_bytes) == nullptr)
    return refuse(fmt::format("No AES cipher with key size {} available", essiv_bytes));
  return ok();
}

void copy_to(MutableBytes bytes, std::size_t where, Bytes what) {
  std::ranges::copy(what, bytes.subspan(where).begin());
}
void copy_to(MutableBytes bytes, std::size_t where, std::string_view text) {
  copy_to(bytes, where, std::as_bytes(std::span(text)));
}

}  // namespace

std::uint64_t LuksHeader::material_bytes() const {
  return align_up(std::uint64_t{key_bytes} * luks::kStripes, SectorCipher::kSector);
}

std::uint64_t LuksHeader::slot_sectors() const {
  return align_up(material_bytes() / SectorCipher::kSector, luks::kHeaderSectors);
}

Result<LuksHeader> parse_luks(Bytes bytes) {
  if (!std::ranges::equal(bytes.first(kMagic.size()), kMagic))
    return refuse("Volume is not in LUKS format");
  const auto version = load_be<std::uint16_t>(bytes, at::version);
  if (version != kVersion) return refuse(fmt::format("LUKS version {} is not supported", version));
  const auto cipher = text_at(bytes, at::cipher, kTextBytes);
  if (!cipher) return refuse("LUKS header cipher name is not NUL terminated");
  const auto mode = text_at(bytes, at::mode, kTextBytes);
  if (!mode) return refuse("LUKS header cipher mode is not NUL terminated");
  const auto hash = text_at(bytes, at::hash, kTextBytes);
  if (!hash) return refuse("LUKS header hash spec is not NUL terminated");

  LuksHeader header;
  header.payload_sector = load_be<std::uint32_t>(bytes, at::payload);
  header.key_bytes = load_be<std::uint32_t>(bytes, at::key_bytes);
  header.iterations = load_be<std::uint32_t>(bytes, at::iterations);
  std::ranges::copy(bytes.subspan(at::digest, luks::kDigestBytes), header.digest.begin());
  std::ranges::copy(bytes.subspan(at::salt, luks::kSaltBytes), header.salt.begin());
  header.uuid = text_at(bytes, at::uuid, kUuidBytes).value_or("");
  for (std::size_t i = 0; i < luks::kSlots; ++i) {
    const Bytes stored = bytes.subspan(at::slots + i * in_slot::bytes, in_slot::bytes);
    LuksSlot& slot = header.slots[i];
    slot.active = load_be<std::uint32_t>(stored, in_slot::state) == kActive;
    slot.iterations = load_be<std::uint32_t>(stored, in_slot::iterations);
    slot.material_sector = load_be<std::uint32_t>(stored, in_slot::material);
    std::ranges::copy(stored.subspan(in_slot::salt, luks::kSaltBytes), slot.salt.begin());
  }
  if (header.payload_sector < luks::kHeaderSectors)
    return refuse("LUKS payload is overlapping with the header");
  if (header.iterations == 0) return refuse("LUKS key iteration count is zero");
  TRY_OK(check_slots(bytes, header));
  TRY_OK(name_ciphers(header, *cipher, *mode, *hash));
  return header;
}

std::array<std::byte, luks::kHeaderBytes> serialise_luks(const LuksHeader& header) {
  std::array<std::byte, luks::kHeaderBytes> stored{};
  const MutableBytes bytes(stored);
  const CipherSpec& spec = header.cipher;
  copy_to(bytes, at::magic, Bytes(kMagic));
  store_be(bytes, at::version, kVersion);
  copy_to(bytes, at::cipher, find_cipher(spec.algorithm)->luks_name);
  copy_to(bytes, at::mode,
          spec.ivgen_hash.empty()
              ? fmt::format("{}-{}", spec.mode, spec.ivgen)
              : fmt::format("{}-{}:{}", spec.mode, spec.ivgen, spec.ivgen_hash));
  copy_to(bytes, at::hash, header.hash->name());
  store_be(bytes, at::payload, header.payload_sector);
  store_be(bytes, at::key_bytes, header.key_bytes);
  copy_to(bytes, at::digest, Bytes(header.digest));
  copy_to(bytes, at::salt, Bytes(header.salt));
  store_be(bytes, at::iterations, header.iterations);
  copy_to(bytes, at::uuid, header.uuid);
  for (std::size_t i = 0; i < luks::kSlots; ++i) {
    const LuksSlot& slot = header.slots[i];
    const MutableBytes place = bytes.subspan(at::slots + i * in_slot::bytes, in_slot::bytes);
    store_be(place, in_slot::state, slot.active ? kActive : kInactive);
    store_be(place, in_slot::iterations, slot.iterations);
    copy_to(place, in_slot::salt, Bytes(slot.salt));
    store_be(place, in_slot::material, slot.material_sector);
    store_be(place, in_slot::stripes, luks::kStripes);
  }
  return stored;
}

}  // namespace sim::crypto
