// Checks values against types, in the order and the words of QEMU's input visitor.

#include <fmt/format.h>

#include <algorithm>

#include "sim/qmp/hash_order.h"
#include "sim/qmp/schema.h"

namespace sim::qmp {

namespace {

// Where a value is: names are put together only for an error.
struct Place {
  const Place* outer;
  std::string_view name;  // of a member; empty for the outermost value
  std::size_t index = 0;  // of an element
  bool is_element = false;

  // "actions[0].data.node"
  std::string path() const {
    const std::string before = outer == nullptr ? std::string() : outer->path();
    if (is_element) return fmt::format("{}[{}]", before, index);
    return before.empty() || name.empty() ? before + std::string(name)
                                          : fmt::format("{}.{}", before, name);
  }
  // Some texts show the last name only, and elements have none.
  std::string_view last() const { return is_element || name.empty() ? "null" : name; }
};

class Walk {
 public:
  Walk(const Profile& profile, const Compat& compat) : profile_(profile), compat_(compat) {}

  bool check(const Type& type, const Json& value, const Place& place) {
    switch (type.kind) {
      case Kind::string:
        return value.is_string() || wrong_type(place, "string");
      case Kind::boolean:
        return value.is_boolean() || wrong_type(place, "boolean");
      case Kind::number:
        return value.is_number() || wrong_type(place, "number");
      case Kind::null:
        return value.is_null() || wrong_type(place, "null");
      case Kind::integer:
        return check_integer(type, value, place);
      case Kind::unsigned_size:
        return check_unsigned(type, value, place);
      case Kind::enumeration:
        return check_value(type, value, place);
      case Kind::array:
        return check_elements(*type.element, value, place);
      case Kind::object:
        return check_object(type, value, place);
      case Kind::alternate:
        return check_alternate(type, value, place);
      case Kind::any:
        return true;
    }
    return true;
  }

  bool allowed(const Features& features, ErrorClass error_class, std::string_view kind,
               std::string_view name) {
    if (features.deprecated && compat_.deprecated_input != Compat::Input::accept)
      return disabled(compat_.deprecated_input, error_class, "Deprecated", kind, name);
    if (features.unstable && compat_.unstable_input != Compat::Input::accept)
      return disabled(compat_.unstable_input, error_class, "Unstable", kind, name);
    return true;
  }

  Result<> result(bool passed) && {
    if (passed) return ok();
    return std::move(error_);
  }

 private:
  bool fail(std::string text) {
    error_ = {ErrorClass::generic, std::move(text)};
    return false;
  }
  bool wrong_type(const Place& place, std::string_view expected) {
    return fail(
        fmt::format("Invalid parameter type for '{}', expected: {}", place.path(), expected));
  }
  bool disabled(Compat::Input policy, ErrorClass error_class, std::string_view adjective,
                std::string_view kind, std::string_view name) {
    error_ = {error_class, fmt::format("{} {} {} disabled by policy", adjective, kind, name)};
    if (policy == Compat::Input::crash) error_.number = kPolicyCrash;
    return false;
  }

  bool out_of_range(const Type& type, const Place& place) {
    return fail(fmt::format("Parameter '{}' expects {}_t", place.last(), type.name));
  }
  // A number that does not fit into 64 bits was read as a floating one, and is none here.
  bool check_integer(const Type& type, const Json& value, const Place& place) {
    const bool fits = value.is_number_unsigned()
                          ? value.get<std::uint64_t>() <= std::uint64_t{INT64_MAX}
                          : value.is_number_integer();
    if (!fits) return wrong_type(place, "integer");
    const std::int64_t number = value.get<std::int64_t>();
    const bool inside = number >= type.least && number <= static_cast<std::int64_t>(type.most);
    return inside || out_of_range(type, place);
  }
  bool check_unsigned(const Type& type, const Json& value, const Place& place) {
    if (!value.is_number_integer())
      return fail(fmt::format("Parameter '{}' expects uint64", place.path()));
    const std::uint64_t number = value.is_number_unsigned()
                                     ? value.get<std::uint64_t>()
                                     : static_cast<std::uint64_t>(value.get<std::int64_t>());
    return number <= type.most || out_of_range(type, place);
  }

  bool check_value(const Type& type, const Json& value, const Place& place) {
    if (!value.is_string()) return wrong_type(place, "string");
    const std::string& text = value.get_ref<const std::string&>();
    for (const Value& known : type.values)
      if (known.name == text)
        return allowed(known.features, ErrorClass::generic, "value", known.name);
    if (!profile_.bad_value_names_parameter)
      return fail(fmt::format("Invalid parameter '{}'", text));
    return fail(fmt::format("Parameter '{}' does not accept value '{}'", place.last(), text));
  }

  bool check_elements(const Type& type, const Json& value, const Place& place) {
    if (!value.is_array()) return wrong_type(place, "array");
    std::size_t index = 0;
    for (const Json& element : value)
      if (!check(type, element, {&place, {}, index++, true})) return false;
    return true;
  }

  bool check_object(const Type& type, const Json& value, const Place& place) {
    if (!value.is_object()) return wrong_type(place, "object");
    std::size_t known = 0;
    if (!check_members(type, value, place, known)) return false;
    return known >= value.size() || unexpected(type, value, place);
  }
  // Counts the members that are declared; the branch's follow the common ones.
  bool check_members(const Type& type, const Json& value, const Place& place, std::size_t& known) {
    const std::string* tag = nullptr;
    for (const Member& member : type.members) {
      const Place inner{&place, member.name};
      const auto given = value.find(member.name);
      if (given == value.end()) {
        if (member.optional) continue;
        return fail(fmt::format("Parameter '{}' is missing", inner.path()));
      }
      ++known;
      if (!allowed(member.features, ErrorClass::generic, "parameter", member.name)) return false;
      if (!check(*member.type, *given, inner)) return false;
      if (&member == type.tag) tag = &given->get_ref<const std::string&>();
    }
    const Type* branch = tag == nullptr ? nullptr : type.branch(*tag);
    return branch == nullptr || check_members(*branch, value, place, known);
  }
  // Takes out what is declared, in the order in which QEMU looks at it.
  static void take_declared(const Type& type, const Json& value, HashOrder& names) {
    for (const Member& member : type.members)
      if (value.contains(member.name)) names.remove(member.name);
    if (type.tag == nullptr) return;
    const Type* branch = type.branch(value[type.tag->name].get_ref<const std::string&>());
    if (branch != nullptr) take_declared(*branch, value, names);
  }
  bool unexpected(const Type& type, const Json& value, const Place& place) {
    std::vector<std::string_view> given;
    for (const auto& [name, member] : value.items()) given.push_back(name);
    sort_as_dictionary(given);
    HashOrder names;
    for (const std::string_view name : given) names.insert(name);
    take_declared(type, value, names);
    return fail(fmt::format("Parameter '{}' is unexpected", Place{&place, names.first()}.path()));
  }

  static bool may_be(const Type& type, const Json& value) {
    switch (type.kind) {
      case Kind::string:
      case Kind::enumeration:
        return value.is_string();
      case Kind::object:
        return value.is_object();
      case Kind::array:
        return value.is_array();
      case Kind::null:
        return value.is_null();
      case Kind::boolean:
        return value.is_boolean();
      default:
        return value.is_number();
    }
  }
  bool check_alternate(const Type& type, const Json& value, const Place& place) {
    for (const Type* alternative : type.alternatives)
      if (may_be(*alternative, value)) return check(*alternative, value, place);
    return fail(
        fmt::format("Invalid parameter type for '{}', expected: {}", place.last(), type.name));
  }

  const Profile& profile_;
  const Compat& compat_;
  Error error_;
};

}  // namespace

Result<> Schema::check_arguments(std::string_view command_name, const Json& arguments,
                                 const Compat& compat) const {
  if (const Message* found = command(command_name))
    return check_arguments(*found, arguments, compat);
  if (is_undeclared(command_name))
    return Error{ErrorClass::generic,
                 fmt::format("understudy: command '{}' is not in this version", command_name)};
  return Error{ErrorClass::command_not_found,
               fmt::format("The command {} has not been found", command_name)};
}

Result<> Schema::check_arguments(const Message& command, const Json& arguments,
                                 const Compat& compat) const {
  Walk walk(profile_, compat);
  bool passed =
      walk.allowed(command.features, ErrorClass::command_not_found, "command", command.name);
  if (passed && command.checked) passed = walk.check(*command.arguments, arguments, {nullptr, {}});
  return std::move(walk).result(passed);
}

Result<> Schema::check_type(std::string_view type_name, const Json& value, std::string_view name,
                            const Compat& compat) const {
  Walk walk(profile_, compat);
  const bool passed = walk.check(type(type_name), value, {nullptr, name});
  return std::move(walk).result(passed);
}

}  // namespace sim::qmp
