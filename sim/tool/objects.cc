// Numbers, and the objects of --object.

#include <fmt/format.h>

#include <array>

#include "sim/base/base64.h"
#include "sim/base/size.h"
#include "sim/tool/invocation.h"

namespace sim::tool {

namespace {

constexpr std::uint64_t kSecretMax = 1 << 20;  // bytes of a secret's file

Error bad_value(std::string text) { return {ErrorClass::generic, std::move(text), EINVAL}; }

}  // namespace

Result<std::uint64_t> parse_number(std::string_view what, std::string_view text,
                                   std::uint64_t least, std::uint64_t most) {
  const auto number = parse_qemu_size(text);
  if (!number && number.error().number != ERANGE)
    return bad_value(
        fmt::format("Invalid {} specified. You may use k, M, G, T, P or E suffixes for kilobytes, "
                    "megabytes, gigabytes, terabytes, petabytes and exabytes.",
                    what));
  if (!number || *number < least || *number > most)
    return Error{ErrorClass::generic,
                 fmt::format("Invalid {} specified. Must be between {} and {}.", what, least, most),
                 ERANGE};
  return *number;
}

// --object: only secrets are known.
Result<> Invocation::add_objects() {
  for (const std::string& text : values("object")) {
    Json object = Json::object();
    if (text.starts_with('{')) {
      object = Json::parse(text, nullptr, false);
      if (!object.is_object()) return bad_value("--object: invalid JSON");
    } else {
      TRY(const auto pairs, parse_key_values(text, "qom-type"));
      for (const auto& [key, value] : pairs) object[key] = value;
    }
    TRY_OK(add_secret(object));
  }
  return ok();
}

Result<> Invocation::add_secret(const Json& object) {
  constexpr std::array kKeys = {"qom-type", "id", "data", "file", "format"};
  for (const auto& [key, value] : object.items()) {
    if (key == "keyid" || key == "iv")
      return bad_value("encrypted secrets (keyid) are not in this version: give data or file");
    if (std::ranges::find(kKeys, key) == kKeys.end())
      return bad_value(fmt::format("Parameter '{}' is unexpected", key));
    if (!value.is_string())
      return bad_value(fmt::format("Invalid parameter type for '{}', expected: string", key));
  }
  const auto text = [&](const char* key) { return object.value(key, std::string()); };
  if (!object.contains("qom-type")) return bad_value("Parameter 'qom-type' is missing");
  if (text("qom-type") != "secret")
    return bad_value(
        fmt::format("Parameter 'qom-type' does not accept value '{}'", text("qom-type")));
  if (!object.contains("id")) return bad_value("Parameter 'id' is missing");
  if (context_.secrets.contains(text("id")))
    return bad_value(fmt::format(
        "attempt to add duplicate property '{}' to object (type 'container')", text("id")));
  if (object.contains("data") && object.contains("file"))
    return bad_value("'file' and 'data' are mutually exclusive");
  if (!object.contains("data") && !object.contains("file"))
    return bad_value("Either 'file' or 'data' must be provided");
  std::string secret = text("data");
  if (object.contains("file")) {
    auto file = files().open(image::absolute(context_, text("file")), storage::Access::read_only);
    if (!file)
      return bad_value(fmt::format("Unable to read {}: {}", text("file"), file.error().desc));
    if ((*file)->size() > kSecretMax)
      return bad_value(fmt::format("Unable to read {}: too large for a secret", text("file")));
    secret.resize((*file)->size());
    TRY_OK(run(world(), (*file)->read(0, std::as_writable_bytes(std::span(secret)))));
  }
  const std::string format = object.value("format", "raw");
  if (format != "raw" && format != "base64")
    return bad_value(fmt::format("Parameter 'format' does not accept value '{}'", format));
  if (format == "base64") {
    auto decoded = decode_base64(secret);
    if (!decoded) return bad_value("Base64 data is not valid");
    secret = *std::move(decoded);
  }
  context_.secrets.emplace(text("id"), std::move(secret));
  return ok();
}

}  // namespace sim::tool
