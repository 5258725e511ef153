// Members of QMP replies and events, read so that no reply, however wrong, can throw.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "sim/base/json.h"

namespace conformance::reply {

// The member, or null if `object` is no object or has none.
inline const sim::Json& member(const sim::Json& object, const char* name) {
  static const sim::Json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}

// The member as text, or "" if it is none.
inline std::string text(const sim::Json& object, const char* name) {
  const sim::Json& value = member(object, name);
  return value.is_string() ? value.get<std::string>() : std::string();
}

// The member as a number, or 0.
inline std::uint64_t number(const sim::Json& object, const char* name) {
  const sim::Json& value = member(object, name);
  return value.is_number_integer() ? value.get<std::uint64_t>() : 0;
}

inline bool flag(const sim::Json& object, const char* name) {
  const sim::Json& value = member(object, name);
  return value.is_boolean() && value.get<bool>();
}

// True if `object[name]` equals `expected`, without a copy.
inline bool is(const sim::Json& object, const char* name, std::string_view expected) {
  const sim::Json& value = member(object, name);
  return value.is_string() && value.get_ref<const std::string&>() == expected;
}

}  // namespace conformance::reply
