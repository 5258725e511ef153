#include "sim/qmp/declaration.h"
#include "sim/base/text.h"

#include <fmt/format.h>

#include <algorithm>

namespace sim::qmp {

static Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

static Result<> check(const Argument& argument, const Json& value, std::string_view prefix) {
  const auto wrong_type = [&](std::string_view expected) {
    return generic(fmt::format("Invalid parameter type for '{}{}', expected: {}", prefix,
                               argument.name, expected));
  };
  const auto is_integer = [&] {  // 64-bit: a larger number was read as a floating one
    return value.is_number_integer() &&
           !(value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX);
  };
  switch (argument.type) {
    case Type::string: {
      if (!value.is_string()) return wrong_type("string");
      const std::string& text = value.get_ref<const std::string&>();
      if (!argument.values.empty() && !is_listed(argument.values, text))
        return generic(
            fmt::format("Parameter '{}' does not accept value '{}'", argument.name, text));
      return ok();
    }
    case Type::boolean:
      if (!value.is_boolean()) return wrong_type("boolean");
      return ok();
    case Type::integer:
      if (!is_integer()) return wrong_type("integer");
      return ok();
    case Type::uint32:
      if (!is_integer()) return wrong_type("integer");
      if (value.get<std::int64_t>() < 0 || value.get<std::int64_t>() > UINT32_MAX)
        return generic(fmt::format("Parameter '{}{}' expects uint32_t", prefix, argument.name));
      return ok();
    case Type::object:
      if (!value.is_object()) return wrong_type("object");
      return ok();
    case Type::array:
      if (!value.is_array()) return wrong_type("array");
      return ok();
    case Type::whatever:
      return ok();
  }
  return ok();
}

Result<> validate(std::span<const Argument> declared, const Json& arguments,
                  std::string_view prefix) {
  std::size_t known = 0;
  for (const Argument& argument : declared) {
    const auto given = arguments.find(argument.name);
    if (given != arguments.end()) {
      ++known;
      TRY_OK(check(argument, *given, prefix));
    } else if (argument.presence == Presence::required) {
      return generic(fmt::format("Parameter '{}{}' is missing", prefix, argument.name));
    }
  }
  if (known == arguments.size()) return ok();
  for (const auto& [name, value] : arguments.items())
    if (std::ranges::find(declared, name, &Argument::name) == declared.end())
      return generic(fmt::format("Parameter '{}{}' is unexpected", prefix, name));
  return ok();
}

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
