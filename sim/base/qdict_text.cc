#include "sim/base/qdict_text.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace sim {

static std::uint32_t bucket_of(const std::string& name) {
  std::uint32_t value = 0x238F13AFU * static_cast<std::uint32_t>(name.size());
  for (std::size_t i = 0; i < name.size(); ++i)
    value += static_cast<std::uint32_t>(static_cast<unsigned char>(name[i])) << (i * 5 % 24);
  return (1103515243U * value + 12345U) % 512U;
}

std::string qdict_text(const Json& value) {
  std::string text;
  if (value.is_array()) {
    for (const Json& element : value) text += (text.empty() ? "" : ", ") + qdict_text(element);
    return "[" + text + "]";
  }
  if (!value.is_object()) return value.dump(-1, ' ', true);
  std::vector<std::string> names;
  for (const auto& [name, member] : value.items()) names.push_back(name);
  std::ranges::sort(names, [](const std::string& a, const std::string& b) {
    const std::uint32_t mine = bucket_of(a), other = bucket_of(b);
    return mine != other ? mine < other : a > b;
  });
  for (const std::string& name : names)
    text += (text.empty() ? "\"" : ", \"") + name + "\": " + qdict_text(value[name]);
  return "{" + text + "}";
}

static void flatten_into(Json& flat, const std::string& prefix, const Json& value) {
  if (!value.is_structured() || value.empty()) {
    flat[prefix] = value;
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i)
      flatten_into(flat, prefix + "." + std::to_string(i), value[i]);
  } else {
    for (const auto& [name, member] : value.items())
      flatten_into(flat, prefix + "." + name, member);
  }
}

Json qdict_flatten(const Json& object) {
  Json flat = Json::object();
  for (const auto& [name, value] : object.items()) flatten_into(flat, name, value);
  return flat;
}

static Error mixed(const std::string& key) {
  return {ErrorClass::generic, "Cannot mix scalar and non-scalar keys: '" + key + "'", EINVAL};
}

Result<Json> qdict_nest(const Json& object) {
  Json tree = Json::object();
  for (const auto& [key, value] : object.items()) {
    Json* at = &tree;
    std::string_view rest = key;
    for (std::size_t dot = rest.find('.'); dot != rest.npos; dot = rest.find('.')) {
      at = &(*at)[std::string(rest.substr(0, dot))];
      if (!at->is_null() && !at->is_object()) return mixed(key);
      rest.remove_prefix(dot + 1);
    }
    Json& place = (*at)[std::string(rest)];
    if (!place.is_null()) return mixed(key);
    place = value;
    if (value.is_object()) {
      TRY(place, qdict_nest(value));
    }
  }
  return tree;
}

}  // namespace sim
