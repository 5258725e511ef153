// A release's types, found and connected: what values are checked against.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace sim::qmp {

struct Features {
  std::vector<std::string_view> names;
  bool deprecated = false, unstable = false;
};

enum class Kind : unsigned char {
  string,
  boolean,
  integer,        // a signed 64-bit number within least … most
  unsigned_size,  // a 64-bit number of which a negative one means 2^64 more (QEMU), at most `most`
  number,
  null,
  any,
  enumeration,
  array,
  object,
  alternate,
};

struct Type;

struct Member {
  std::string_view name;
  const Type* type;
  bool optional;
  Features features;
};

struct Value {
  std::string_view name;
  Features features;
};

struct Branch {
  std::string_view tag;
  const Type* type;
};

struct Type {
  Kind kind;
  std::size_t number;     // its place among the release's types
  std::string_view name;  // QAPI's; error texts show an alternate's and a narrow integer's
  Features features = {};
  std::int64_t least = INT64_MIN;  // integers
  std::uint64_t most = INT64_MAX;
  std::vector<Member> members = {};   // object
  const Member* tag = nullptr;        // of an object with branches; one of `members`
  std::vector<Branch> branches = {};  // those that add members, in the declared order
  std::vector<Value> values = {};     // enumeration
  const Type* element = nullptr;      // array
  std::vector<const Type*> alternatives = {};

  const Type* branch(std::string_view value) const {
    for (const Branch& candidate : branches)
      if (candidate.tag == value) return candidate.type;
    return nullptr;
  }
};

// A command or an event of a release.
struct Message {
  std::string_view name;
  bool is_event;
  bool out_of_band;       // may be executed out of band
  bool checked;           // false: its handler checks the arguments (QAPI's gen: false)
  const Type* arguments;  // an object
  const Type* returns;    // null: an empty object
  Features features;
};

}  // namespace sim::qmp
