// Any bytes as a LUKS header, with key material behind it; slots that cost little are opened.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/base/check.h"
#include "sim/crypto/luks_keys.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace crypto = sim::crypto;
  constexpr std::uint64_t kEffortMax = 4000;
  std::vector<std::byte> bytes(crypto::luks::kHeaderBytes);
  const sim::Bytes input = std::as_bytes(std::span(data, size));
  std::ranges::copy(input.first(std::min(input.size(), bytes.size())), bytes.begin());
  const auto header = crypto::parse_luks(bytes);
  if (!header) return 0;
  const auto again = crypto::parse_luks(crypto::serialise_luks(*header));
  CHECK(again.ok() && *again == *header);
  for (std::size_t slot = 0; slot < crypto::luks::kSlots; ++slot) {
    if (!header->slots[slot].active || crypto::effort_of(*header, slot) > kEffortMax) continue;
    std::vector<std::byte> material(header->material_bytes());
    const sim::Bytes rest = input.subspan(std::min(input.size(), bytes.size()));
    std::ranges::copy(rest.first(std::min(rest.size(), material.size())), material.begin());
    (void)crypto::open_slot(*header, slot, material, "secret");
    break;
  }
  return 0;
}
