#include "sim/qmp/hash_order.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

namespace sim::qmp {

// g_str_hash, with characters that have a sign as on x86; 0 and 1 stand for empty slots.
static std::uint32_t hash_of(std::string_view name) {
  std::uint32_t hash = 5381;
  for (const char c : name)
    hash = hash * 33 + static_cast<std::uint32_t>(static_cast<signed char>(c));
  return hash < 2 ? 2 : hash;
}

// The largest prime below each power of two, from 2^3 on.
std::size_t HashOrder::slot_of(std::uint32_t hash) const {
  constexpr std::array<std::uint32_t, 14> kPrimes = {7,    13,   31,   61,   127,   251,   509,
                                                     1021, 2039, 4093, 8191, 16381, 32749, 65521};
  const auto power = static_cast<std::size_t>(std::countr_zero(slots_.size()));
  return hash * 11U % kPrimes[std::min(power - 3, kPrimes.size() - 1)];
}

// The slot that holds the name, or else the one where it would be put.
std::size_t HashOrder::find(std::string_view name, std::uint32_t hash) const {
  std::size_t slot = slot_of(hash), step = 0, free = slots_.size();
  for (; slots_[slot].state != State::unused; slot = (slot + ++step) & (slots_.size() - 1)) {
    if (slots_[slot].state == State::removed)
      free = free == slots_.size() ? slot : free;
    else if (slots_[slot].name == name)
      return slot;
  }
  return free == slots_.size() ? slot : free;
}

void HashOrder::insert(std::string_view name) {
  const std::uint32_t hash = hash_of(name);
  Slot& slot = slots_[find(name, hash)];
  if (slot.state == State::used) return;
  touched_ += slot.state == State::unused ? 1 : 0;
  ++names_;
  slot = {State::used, hash, name};
  resize_if_needed();
}

void HashOrder::remove(std::string_view name) {
  Slot& slot = slots_[find(name, hash_of(name))];
  if (slot.state != State::used) return;
  slot = {State::removed};
  --names_;
  resize_if_needed();
}

std::string_view HashOrder::first() const {
  const auto used = std::ranges::find(slots_, State::used, &Slot::state);
  return used == slots_.end() ? std::string_view{} : used->name;
}

void HashOrder::resize_if_needed() {
  const std::size_t size = slots_.size();
  if ((size > names_ * 4 && size > 8) || size <= touched_ + touched_ / 16) resize();
}

// In place: a name that stands where another belongs is driven out, and placed next.
void HashOrder::resize() {
  const std::size_t wanted = names_ * 1333 / 1000;
  const std::size_t size = std::size_t{1} << std::max<std::size_t>(std::bit_width(wanted), 3);
  std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(size));
  std::vector<bool> placed(std::max(size, old.size()));
  old.resize(placed.size());
  for (std::size_t i = 0; i < old.size(); ++i) {
    if (old[i].state != State::used || placed[i]) continue;
    Slot moving = std::exchange(old[i], {});
    while (moving.state == State::used) {
      std::size_t slot = slot_of(moving.hash), step = 0;
      while (placed[slot]) slot = (slot + ++step) & (size - 1);
      placed[slot] = true;
      std::swap(moving, old[slot]);
    }
  }
  for (std::size_t i = 0; i < size; ++i) slots_[i] = old[i];
  touched_ = names_;
}

void sort_as_dictionary(std::vector<std::string_view>& names) {
  const auto bucket_of = [](std::string_view name) {
    std::uint32_t value = 0x238F13AFU * static_cast<std::uint32_t>(name.size());
    for (std::size_t i = 0; i < name.size(); ++i)
      value += static_cast<std::uint32_t>(static_cast<unsigned char>(name[i])) << (i * 5 % 24);
    return (1103515243U * value + 12345U) % 512;
  };
  std::ranges::sort(names, [&](std::string_view a, std::string_view b) {
    return std::pair(bucket_of(a), b) < std::pair(bucket_of(b), a);
  });
}

}  // namespace sim::qmp
