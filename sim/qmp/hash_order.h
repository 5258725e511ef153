// Which of an object's members QEMU meets first when it looks for those that nobody took.
//
// It keeps the names of members in a hash table of GLib, takes out what it knows, and complains of
// the first that is left, in the order of the table's slots.  That order depends on the names, on
// what was taken and when; it is the same in every release we speak as (GLib 2.66 to 2.84).

#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace sim::qmp {

// A set of names as GHashTable keeps it (ghash.c).  The names must outlive it.
class HashOrder {
 public:
  HashOrder() : slots_(8) {}

  void insert(std::string_view name);
  void remove(std::string_view name);
  // The name in the first slot that has one; empty if there is none.
  std::string_view first() const;

 private:
  enum class State : unsigned char { unused, removed, used };
  struct Slot {
    State state = State::unused;
    std::uint32_t hash = 0;
    std::string_view name = {};
  };

  std::size_t slot_of(std::uint32_t hash) const;
  std::size_t find(std::string_view name, std::uint32_t hash) const;
  void resize_if_needed();
  void resize();

  std::vector<Slot> slots_;  // a power of two
  std::size_t names_ = 0;    // slots in use
  std::size_t touched_ = 0;  // those and the ones whose name was removed
};

// Puts the names of an object into the order in which QEMU's dictionary gives them (qdict.c): by
// bucket, and the last one first within it, where they came in alphabetic order.
void sort_as_dictionary(std::vector<std::string_view>& names);

}  // namespace sim::qmp
