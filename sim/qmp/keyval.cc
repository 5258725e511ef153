#include "sim/qmp/keyval.h"

#include <fmt/format.h>

#include <charconv>

#include "sim/qmp/type.h"

namespace sim::qmp {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Objects whose members are numbers are lists.
Result<> make_lists(Json& value, const std::string& path) {
  std::size_t indices = 0;
  for (auto& [name, member] : value.items()) {
    indices += !name.empty() && is_digit(name.front()) ? 1 : 0;
    if (member.is_object()) TRY_OK(make_lists(member, path + name + "."));
  }
  if (indices == 0) return ok();
  if (indices < value.size())
    return generic(fmt::format("Parameters '{}*' used inconsistently", path));
  Json list = Json::array();
  for (std::size_t i = 0; i < indices; ++i) {
    const auto element = value.find(std::to_string(i));
    if (element == value.end()) return generic(fmt::format("Parameter '{}{}' missing", path, i));
    list.push_back(*element);
  }
  value = std::move(list);
  return ok();
}

Result<> give_type(const Type& type, Json& value, const std::string& path);

Result<> give_types(const Type& type, Json& value, const std::string& path) {
  for (const Member& member : type.members)
    if (const auto found = value.find(member.name); found != value.end())
      TRY_OK(give_type(
          *member.type, *found,
          path.empty() ? std::string(member.name) : fmt::format("{}.{}", path, member.name)));
  if (type.tag == nullptr) return ok();
  const auto tag = value.find(type.tag->name);
  if (tag == value.end() || !tag->is_string()) return ok();
  const Type* branch = type.branch(tag->get_ref<const std::string&>());
  return branch == nullptr ? ok() : give_types(*branch, value, path);
}

Result<> give_number(const Type& type, Json& value, const std::string& path) {
  std::string_view text = value.get_ref<const std::string&>();
  const bool is_size = type.name == "size";
  const auto expects = [&] {
    return generic(
        fmt::format("Parameter '{}' expects {}", path, is_size ? "a size value" : "integer"));
  };
  unsigned shift = 0;
  static constexpr std::string_view kUnits = "bkmgtpe";
  if (is_size && !text.empty() && !is_digit(text.back())) {
    const auto unit = kUnits.find(static_cast<char>(text.back() | 0x20));
    if (unit == kUnits.npos) return expects();
    shift = 10 * static_cast<unsigned>(unit);
    text.remove_suffix(1);
  }
  const char* const end = text.data() + text.size();
  if (text.starts_with('-')) {
    std::int64_t number = 0;
    if (is_size || std::from_chars(text.data(), end, number).ptr != end) return expects();
    value = number;
    return ok();
  }
  const int base = text.starts_with("0x") ? 16 : 10;
  const char* const begin = text.data() + (base == 16 ? 2 : 0);
  std::uint64_t number = 0;
  const auto [after, failure] = std::from_chars(begin, end, number, base);
  if (begin == end || after != end || failure != std::errc()) return expects();
  if (number << shift >> shift != number) return expects();
  value = number << shift;
  return ok();
}

Result<> give_scalar(const Type& type, Json& value, const std::string& path) {
  switch (type.kind) {
    case Kind::boolean:
      if (value != "on" && value != "off")
        return generic(fmt::format("Parameter '{}' expects 'on' or 'off'", path));
      value = value == "on";
      return ok();
    case Kind::integer:
    case Kind::unsigned_size:
      return give_number(type, value, path);
    case Kind::null:
      if (value == "") value = nullptr;
      return ok();
    default:
      return ok();
  }
}

Result<> give_type(const Type& type, Json& value, const std::string& path) {
  if (type.kind == Kind::alternate) {
    for (const Type* candidate : type.alternatives)
      if (value.is_object() == (candidate->kind == Kind::object))
        return give_type(*candidate, value, path);
    return ok();
  }
  if (value.is_string()) return give_scalar(type, value, path);
  if (value.is_object() && type.kind == Kind::object) return give_types(type, value, path);
  if (value.is_array() && type.kind == Kind::array)
    for (std::size_t i = 0; i < value.size(); ++i)
      TRY_OK(give_type(*type.element, value[i], fmt::format("{}[{}]", path, i)));
  return ok();
}

}  // namespace

Result<> make_lists(Json& tree) { return make_lists(tree, ""); }

Result<Json> typed_keyval(const Schema& schema, std::string_view type, Json value) {
  TRY_OK(give_type(schema.type(type), value, ""));
  return value;
}

}  // namespace sim::qmp
