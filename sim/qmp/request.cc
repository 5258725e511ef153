#include "sim/qmp/request.h"

#include <fmt/format.h>

namespace sim::qmp {

static Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

Result<Request> read_request(const Json& input) {
  if (!input.is_object()) return generic("QMP input must be a JSON object");
  for (const auto& [name, value] : input.items()) {
    if (name == "execute") {
      if (!value.is_string()) return generic("QMP input member 'execute' must be a string");
    } else if (name == "arguments") {
      if (!value.is_object()) return generic("QMP input member 'arguments' must be an object");
    } else if (name != "id") {
      return generic(fmt::format("QMP input member '{}' is unexpected", name));
    }
  }
  if (!input.contains("execute")) return generic("QMP input lacks member 'execute'");
  return Request{input["execute"].get<std::string>(), input.value("arguments", Json::object())};
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
