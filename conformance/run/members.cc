#include "conformance/run/members.h"

#include <algorithm>

#include "sim/base/text.h"

namespace conformance {

using sim::Json;

bool has_members(const Json& whole, const Json& part) {
  if (!part.is_object()) return whole == part;
  return whole.is_object() && std::ranges::all_of(part.items(), [&](const auto& member) {
           return whole.contains(member.key()) && has_members(whole[member.key()], member.value());
         });
}

Json in_directory(const Json& json, const std::string& directory) {
  return Json::parse(sim::replace_all(json.dump(), "${dir}", directory));
}

}  // namespace conformance
