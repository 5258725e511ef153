#include "sim/crypto/af_split.h"

#include <algorithm>
#include <array>
#include <vector>

namespace sim::crypto {

// Replaces each piece of a digest's size by the hash of its number and itself.
static void diffuse(const Hash& hash, MutableBytes block) {
  std::array<std::byte, Hash::kMaxSize> digest;
  const MutableBytes out = MutableBytes(digest).first(hash.size());
  for (std::uint32_t number = 0; !block.empty(); ++number) {
    std::array<std::byte, 4> counter;
    store_be(MutableBytes(counter), 0, number);
    const std::size_t part = std::min(block.size(), hash.size());
    hash.digest({counter, block.first(part)}, out);
    std::ranges::copy(out.first(part), block.begin());
    block = block.subspan(part);
  }
}

static void add(MutableBytes to, Bytes what) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] ^= what[i];
}

// What the last stripe is added to.
static std::vector<std::byte> sum_of_all_but_last(const Hash& hash, Bytes split, std::size_t size) {
  std::vector<std::byte> sum(size);
  for (; split.size() > size; split = split.subspan(size)) {
    add(sum, split.first(size));
    diffuse(hash, sum);
  }
  return sum;
}

void af_split(const Hash& hash, Bytes key, const std::function<void(MutableBytes)>& random,
              MutableBytes split) {
  random(split.first(split.size() - key.size()));
  const MutableBytes last = split.last(key.size());
  std::ranges::copy(sum_of_all_but_last(hash, split, key.size()), last.begin());
  add(last, key);
}

void af_merge(const Hash& hash, Bytes split, MutableBytes key) {
  std::ranges::copy(sum_of_all_but_last(hash, split, key.size()), key.begin());
  add(key, split.last(key.size()));
}

}  // namespace sim::crypto
