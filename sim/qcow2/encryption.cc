#include "sim/qcow2/encryption.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/crypto/luks_keys.h"
#include "sim/qcow2/format.h"

namespace sim::qcow2 {

namespace {

using Cipher = std::shared_ptr<const crypto::SectorCipher>;

Error refuse(std::string text, int number = EINVAL) {
  return {ErrorClass::generic, std::move(text), number};
}

// Legacy AES: the key is the passphrase, cut or filled up with zeroes to 16 bytes (measured).
Result<Cipher> legacy_cipher(const std::string& passphrase) {
  std::array<std::byte, 16> key{};
  std::ranges::copy(
      std::as_bytes(std::span(passphrase)).first(std::min(passphrase.size(), key.size())),
      key.begin());
  TRY(auto cipher,
      crypto::make_cipher({.algorithm = "aes-128", .mode = "cbc", .ivgen = "plain64"}, key));
  return Cipher(std::move(cipher));
}

crypto::LuksOptions luks_options(const EncryptOptions& options) {
  return {.cipher_alg = options.cipher_alg,
          .cipher_mode = options.cipher_mode,
          .ivgen_alg = options.ivgen_alg,
          .ivgen_hash_alg = options.ivgen_hash_alg,
          .hash_alg = options.hash_alg,
          .iterations = options.iterations};
}

// The LUKS area of an open file and what is known of it.
class Area {
 public:
  Area(storage::Storage& file, CryptoPointer where, bool lax = false)
      : file_(file), where_(where), lax_(lax) {}

  crypto::LuksHeader& header() { return header_; }

  Task<Result<>> load() {
    std::array<std::byte, crypto::luks::kHeaderBytes> bytes;
    CO_TRY_OK(co_await read(0, bytes));
    CO_TRY(header_, crypto::parse_luks(bytes));
    co_return ok();
  }

  // The master key, if the passphrase opens the slot.  An Error if that would take too long.
  Task<Result<std::optional<crypto::Key>>> try_slot(std::size_t slot, std::string passphrase) {
    if (!may_try(slot))
      co_return refuse(
          fmt::format("Keyslot {}: {} iterations take too long to try (--lax tries "
                      "them)",
                      slot, header_.slots[slot].iterations));
    effort_left_ -= lax_ ? 0 : crypto::effort_of(header_, slot);
    std::vector<std::byte> material(header_.material_bytes());
    CO_TRY_OK(co_await read(place_of(slot), material));
    co_return crypto::open_slot(header_, slot, material, passphrase);
  }

  // The same for the first slot that it opens; an Error if it opens none.
  Task<Result<crypto::Key>> unlock(std::string passphrase) {
    std::optional<std::size_t> left_out;
    for (std::size_t slot = 0; slot < crypto::luks::kSlots; ++slot) {
      if (!header_.slots[slot].active) continue;
      if (!may_try(slot)) {
        left_out = slot;
        continue;
      }
      CO_TRY(auto key, co_await try_slot(slot, passphrase));
      if (key) co_return *std::move(key);
    }
    if (left_out) CO_TRY_OK(co_await try_slot(*left_out, passphrase));
    co_return refuse("Invalid password, cannot unlock any keyslot", EPERM);
  }

  Task<Result<>> fill(std::size_t slot, crypto::Key key, const AmendOptions::Key& change,
                      const crypto::Random& random) {
    const std::uint64_t iterations =
        change.iterations == 0 ? crypto::luks::kIterations : change.iterations;
    CO_TRY(const std::vector<std::byte> material,
           crypto::fill_slot(header_, slot, key, change.new_secret, iterations, random));
    CO_TRY_OK(co_await write(place_of(slot), material));
    CO_TRY_OK(co_await file_.flush());
    co_return co_await store(slot);
  }

  // The slot is empty before its material goes.
  Task<Result<>> erase(std::size_t slot, const crypto::Random& random) {
    header_.slots[slot] = {.material_sector = header_.slots[slot].material_sector};
    CO_TRY_OK(co_await store(slot));
    std::vector<std::byte> noise(header_.material_bytes());
    random(noise);
    CO_TRY_OK(co_await write(place_of(slot), noise));
    co_return co_await file_.flush();
  }

 private:
  bool may_try(std::size_t slot) const {
    return lax_ || crypto::effort_of(header_, slot) <= effort_left_;
  }
  std::uint64_t place_of(std::size_t slot) const {
    return header_.slots[slot].material_sector * format::kSector;
  }
  Task<Result<>> read(std::uint64_t at, MutableBytes into) {
    if (at > where_.length || into.size() > where_.length - at)
      co_return refuse("Request for data outside of extension header");
    co_return co_await file_.read(where_.offset.value + at, into);
  }
  Task<Result<>> write(std::uint64_t at, Bytes from) {
    if (at > where_.length || from.size() > where_.length - at)
      co_return refuse("Request for data outside of extension header");
    co_return co_await file_.write(where_.offset.value + at, from);
  }
  Task<Result<>> store(std::size_t slot) {
    const auto bytes = crypto::serialise_luks(header_);
    const std::size_t at = crypto::luks::kSlotsAt + slot * crypto::luks::kSlotBytes;
    CO_TRY_OK(co_await write(at, Bytes(bytes).subspan(at, crypto::luks::kSlotBytes)));
    co_return co_await file_.flush();
  }

  storage::Storage& file_;
  CryptoPointer where_;
  bool lax_;  // tries what takes long, too
  std::uint64_t effort_left_ = kUnlockEffortMax;
  crypto::LuksHeader header_;
};

std::size_t count_active(const crypto::LuksHeader& header) {
  return static_cast<std::size_t>(
      std::ranges::count(header.slots, true, &crypto::LuksSlot::active));
}

Result<> check_slot_number(const AmendOptions::Key& change) {
  constexpr int kLast = crypto::luks::kSlots - 1;
  if (!change.keyslot || (*change.keyslot >= 0 && *change.keyslot <= kLast)) return ok();
  return refuse(fmt::format("Invalid keyslot {} specified, must be between 0 and {}",
                            static_cast<std::uint32_t>(*change.keyslot), kLast));
}

// Which slot is to take a new passphrase.
Result<std::size_t> slot_to_fill(const crypto::LuksHeader& header,
                                 const AmendOptions::Key& change) {
  if (change.new_secret.empty()) return refuse("'new-secret' is required to activate a keyslot");
  if (!change.old_secret.empty())
    return refuse("'old-secret' must not be given when activating keyslots");
  TRY_OK(check_slot_number(change));
  if (change.keyslot) {
    const auto slot = static_cast<std::size_t>(*change.keyslot);
    if (header.slots[slot].active && !change.force)
      return refuse(
          fmt::format("Refusing to overwrite active keyslot {} - please erase it first", slot));
    return slot;
  }
  const auto empty = std::ranges::find(header.slots, false, &crypto::LuksSlot::active);
  if (empty == header.slots.end()) return refuse("Can't add a keyslot - all keyslots are in use");
  return static_cast<std::size_t>(empty - header.slots.begin());
}

// Erases the one slot that is named.
Task<Result<>> erase_named(Area& area, const AmendOptions::Key& change,
                           const crypto::Random& random) {
  const auto slot = static_cast<std::size_t>(*change.keyslot);
  if (!change.old_secret.empty()) {
    CO_TRY(const auto key, co_await area.try_slot(slot, change.old_secret));
    if (!key)
      co_return refuse(
          fmt::format("Given keyslot {} doesn't contain the given old password for "
                      "erase operation",
                      slot));
  }
  if (!area.header().slots[slot].active && !change.force)
    co_return refuse(fmt::format("Given keyslot {} is already erased (inactive) ", slot));
  if (count_active(area.header()) == 1 && area.header().slots[slot].active && !change.force)
    co_return refuse(
        fmt::format("Attempt to erase the only active keyslot {} which will erase all "
                    "the data in the image irreversibly - refusing operation",
                    slot));
  co_return co_await area.erase(slot, random);
}

// Erases every slot that a passphrase opens.
Task<Result<>> erase_matching(Area& area, const AmendOptions::Key& change,
                              const crypto::Random& random) {
  std::vector<std::size_t> found;
  for (std::size_t slot = 0; slot < crypto::luks::kSlots; ++slot) {
    if (!area.header().slots[slot].active) continue;
    CO_TRY(const auto key, co_await area.try_slot(slot, change.old_secret));
    if (key) found.push_back(slot);
  }
  if (found.empty()) co_return refuse("No keyslots match given (old) password for erase operation");
  if (found.size() == count_active(area.header()) && !change.force)
    co_return refuse(
        "All the active keyslots match the (old) password that was given and erasing "
        "them will erase all the data in the image irreversibly - refusing operation");
  for (const std::size_t slot : found) CO_TRY_OK(co_await area.erase(slot, random));
  co_return ok();
}

Task<Result<>> erase_keys(Area& area, const AmendOptions::Key& change,
                          const crypto::Random& random) {
  if (!change.new_secret.empty())
    co_return refuse("'new-secret' must not be given when erasing keyslots");
  if (change.iterations != 0)
    co_return refuse("'iter-time' must not be given when erasing keyslots");
  CO_TRY_OK(check_slot_number(change));
  if (change.keyslot) co_return co_await erase_named(area, change, random);
  if (!change.old_secret.empty()) co_return co_await erase_matching(area, change, random);
  co_return refuse(
      "To erase keyslot(s), either explicit keyslot index or the password currently "
      "contained in them must be given");
}

}  // namespace

Task<Result<std::optional<crypto::LuksHeader>>> read_luks(storage::Storage& file,
                                                          const Header& header) {
  if (header.crypt_method != format::kCryptLuks || !header.crypto)
    co_return std::optional<crypto::LuksHeader>();
  Area area(file, *header.crypto);
  CO_TRY_OK(co_await area.load());
  co_return std::optional(area.header());
}

Task<Result<Cipher>> unlock(storage::Storage& file, const Header& header, std::string passphrase,
                            bool lax) {
  if (header.crypt_method == format::kCryptAes) co_return legacy_cipher(passphrase);
  if (header.crypt_method != format::kCryptLuks || !header.crypto) co_return Cipher();
  Area area(file, *header.crypto, lax);
  CO_TRY_OK(co_await area.load());
  CO_TRY(const crypto::Key key, co_await area.unlock(std::move(passphrase)));
  CO_TRY(auto cipher, crypto::make_cipher(area.header().cipher, key));
  co_return Cipher(std::move(cipher));
}

Result<std::vector<std::byte>> make_luks_area(const EncryptOptions& options) {
  return crypto::make_luks_area(luks_options(options), options.passphrase, options.random);
}

Result<std::uint64_t> luks_area_bytes(const EncryptOptions& options) {
  TRY(const crypto::LuksHeader planned, crypto::plan_luks(luks_options(options)));
  return crypto::area_bytes(planned);
}

Task<Result<>> amend_key(storage::Storage& file, const Header& header, AmendOptions::Key change,
                         std::string unlock_secret, std::function<void(MutableBytes)> random) {
  if (header.crypt_method == format::kCryptNone)
    co_return refuse("Can't amend encryption options - encryption not present");
  if (header.crypt_method != format::kCryptLuks || !header.crypto)
    co_return refuse("Only LUKS encryption options can be amended");
  Area area(file, *header.crypto);
  CO_TRY_OK(co_await area.load());
  if (!change.activate) co_return co_await erase_keys(area, change, random);
  CO_TRY(const std::size_t slot, slot_to_fill(area.header(), change));
  CO_TRY(crypto::Key key, co_await area.unlock(std::move(unlock_secret)));
  co_return co_await area.fill(slot, std::move(key), change, random);
}

}  // namespace sim::qcow2
