#include "sim/qmp/request.h"

#include <fmt/format.h>

#include <string_view>
#include <vector>

#include "sim/qmp/hash_order.h"

namespace sim::qmp {

static Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

Result<Request> read_request(const Json& input, OutOfBand out_of_band) {
  if (!input.is_object()) return generic("QMP input must be a JSON object");
  std::vector<std::string_view> names;
  for (const auto& [name, value] : input.items()) names.push_back(name);
  sort_as_dictionary(names);
  std::string_view verb;
  for (const std::string_view name : names) {
    const Json& value = *input.find(name);
    const bool allowed = out_of_band == OutOfBand::allowed;
    if (name == "execute" || (name == "exec-oob" && allowed)) {
      if (!value.is_string())
        return generic(fmt::format("QMP input member '{}' must be a string", name));
      if (!verb.empty())
        return generic(fmt::format("QMP input member '{}' clashes with '{}'", name, verb));
      verb = name;
    } else if (name == "arguments") {
      if (!value.is_object()) return generic("QMP input member 'arguments' must be an object");
    } else if (name != "id") {
      return generic(fmt::format("QMP input member '{}' is unexpected", name));
    }
  }
  if (verb.empty()) return generic("QMP input lacks member 'execute'");
  return Request{input.find(verb)->get<std::string>(), input.value("arguments", Json::object()),
                 verb == "exec-oob"};
}

Json make_reply(const Json& input, Result<Json> result) {
  Json reply = Json::object();
  if (result)
    reply["return"] = *std::move(result);
  else
    reply["error"] = {{"class", name_of(result.error().error_class)},
                      {"desc", result.error().desc}};
  if (input.is_object() && input.contains("id")) reply["id"] = input["id"];
  return reply;
}

}  // namespace sim::qmp
