// The keys of LUKS: made, found with a passphrase, put into slots and taken out.
//
// Master keys are in memory while an image is open; this is a test tool, they are not wiped.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/base/result.h"
#include "sim/crypto/luks.h"

namespace sim::crypto {

namespace luks {
// QEMU measures how many iterations fit its iter-time; there is no clock here.  Fixed instead
// (docs/decisions/luks-iterations.md); the digest of the master key gets an eighth of it, as in
// QEMU, and nothing gets less than QEMU's minimum.
inline constexpr std::uint32_t kIterations = 600000;
inline constexpr std::uint32_t kIterationsMin = 1000;
inline constexpr std::uint64_t kIterTimeDefault = 2000;  // ms; QEMU
}  // namespace luks

using Random = std::function<void(MutableBytes)>;
using Key = std::vector<std::byte>;

// What stands for QEMU's iter-time of so many milliseconds; 0 is its default.
std::uint32_t iterations_for(std::uint64_t iter_time_ms);

struct LuksOptions {  // empty or 0: QEMU's default
  std::string cipher_alg = {}, cipher_mode = {}, ivgen_alg = {}, ivgen_hash_alg = {}, hash_alg = {};
  std::uint64_t iterations = 0;
};

// What `qemu-img create` does with the options, and what it refuses, in its words: a header whose
// slots are all empty.  Keys, salts and the UUID are missing yet.
Result<LuksHeader> plan_luks(const LuksOptions& options);

// Bytes of the whole area, key material included.
std::uint64_t area_bytes(const LuksHeader& header);

// A new area: the master key is drawn, slot 0 opens with `passphrase`.
Result<std::vector<std::byte>> make_luks_area(const LuksOptions& options,
                                              std::string_view passphrase, const Random& random);

// The HMACs that trying a passphrase on a slot computes at most.
std::uint64_t effort_of(const LuksHeader& header, std::size_t slot);

// The master key, if `passphrase` opens the slot; `material` holds material_bytes().
Result<std::optional<Key>> open_slot(const LuksHeader& header, std::size_t slot, Bytes material,
                                     std::string_view passphrase);

// Makes the slot open with `passphrase`: changes it in `header` and returns its new material.
Result<std::vector<std::byte>> fill_slot(LuksHeader& header, std::size_t slot, const Key& master,
                                         std::string_view passphrase, std::uint64_t iterations,
                                         const Random& random);

}  // namespace sim::crypto
