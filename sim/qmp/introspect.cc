// The schema as query-qmp-schema tells it (QAPI: SchemaInfo), and what a policy hides of answers.

#include <algorithm>

#include "sim/qmp/schema.h"

namespace sim::qmp {

namespace {

bool is_hidden(const Features& features, const Compat& compat) {
  return (features.deprecated && compat.deprecated_output == Compat::Output::hide) ||
         (features.unstable && compat.unstable_output == Compat::Output::hide);
}

// query-qmp-schema knows one policy only (measured on 7.2, 10.0 and 11.1), and shows all values of
// an enumeration.
bool is_untold(const Features& features, const Compat& compat) {
  return features.deprecated && compat.deprecated_output == Compat::Output::hide;
}

void add_features(Json& entry, const Features& features) {
  for (const std::string_view name : features.names) entry["features"].push_back(name);
}

// Describes types when they are first named, each after what named it.
class Description {
 public:
  Description(bool values_have_members, const Compat& compat)
      : values_have_members_(values_have_members), compat_(compat) {}

  void add(const Message& message) {
    Json entry = {{"name", message.name}, {"meta-type", message.is_event ? "event" : "command"}};
    entry["arg-type"] = name_of(*message.arguments);
    if (!message.is_event) {
      entry["ret-type"] = message.returns == nullptr ? "0" : name_of(*message.returns);
      if (message.out_of_band) entry["allow-oob"] = true;
    }
    add_features(entry, message.features);
    list_.push_back(std::move(entry));
  }
  Json finish() && {
    for (std::size_t i = 0; i < named_.size(); ++i) list_.push_back(describe(*named_[i]));
    list_.push_back(describe_nothing());
    return std::move(list_);
  }

 private:
  static Json describe_nothing() {
    return {{"name", "0"}, {"meta-type", "object"}, {"members", Json::array()}};
  }
  // QEMU hides every name but the built-in ones.
  std::string name_of(const Type& type) {
    if (type.name.empty()) return "0";
    if (type.kind == Kind::array) {
      std::string name = "[" + name_of(*type.element) + "]";
      note(type, name);
      return name;
    }
    switch (type.kind) {
      case Kind::integer:
      case Kind::unsigned_size:
        return note(type, "int");
      case Kind::enumeration:
      case Kind::object:
      case Kind::alternate:
        return note(type, std::to_string(type.number));
      default:
        return note(type, std::string(type.name));
    }
  }
  std::string note(const Type& type, std::string name) {
    if (std::ranges::find(names_, name) == names_.end()) {
      names_.push_back(name);
      named_.push_back(&type);
    }
    return name;
  }

  Json describe(const Type& type) {
    Json entry = {{"name", name_of(type)}};
    switch (type.kind) {
      case Kind::enumeration:
        describe_values(type, entry);
        break;
      case Kind::array:
        entry["meta-type"] = "array";
        entry["element-type"] = name_of(*type.element);
        break;
      case Kind::object:
        describe_members(type, entry);
        break;
      case Kind::alternate:
        entry["meta-type"] = "alternate";
        for (const Type* alternative : type.alternatives)
          entry["members"].push_back({{"type", name_of(*alternative)}});
        break;
      default:
        entry["meta-type"] = "builtin";
        entry["json-type"] = json_type(type);
    }
    add_features(entry, type.features);
    return entry;
  }
  static std::string_view json_type(const Type& type) {
    switch (type.kind) {
      case Kind::string:
        return "string";
      case Kind::boolean:
        return "boolean";
      case Kind::number:
        return "number";
      case Kind::null:
        return "null";
      case Kind::any:
        return "value";
      default:
        return "int";
    }
  }
  void describe_values(const Type& type, Json& entry) {
    entry["meta-type"] = "enum";
    const bool hidden = compat_.deprecated_output == Compat::Output::hide && values_have_members_;
    for (const Value& value : type.values) {
      if (!hidden) entry["values"].push_back(value.name);
      if (!values_have_members_) continue;
      Json member = {{"name", value.name}};
      add_features(member, value.features);
      entry["members"].push_back(std::move(member));
    }
  }
  void describe_members(const Type& type, Json& entry) {
    entry["meta-type"] = "object";
    entry["members"] = Json::array();
    for (const Member& member : type.members) {
      if (is_untold(member.features, compat_)) continue;
      Json described = {{"name", member.name}, {"type", name_of(*member.type)}};
      if (member.optional) described["default"] = nullptr;
      add_features(described, member.features);
      entry["members"].push_back(std::move(described));
    }
    if (type.tag == nullptr) return;
    entry["tag"] = type.tag->name;
    for (const Value& value : type.tag->type->values) {
      const Type* branch = type.branch(value.name);
      entry["variants"].push_back(
          {{"case", value.name}, {"type", branch == nullptr ? "0" : name_of(*branch)}});
    }
  }

  bool values_have_members_;
  const Compat& compat_;
  std::vector<std::string> names_;
  std::vector<const Type*> named_;
  Json list_ = Json::array();
};

}  // namespace

Json Schema::introspection(const Compat& compat) const {
  // From 7.2 on an enumeration's values are members too.
  const bool members =
      std::ranges::any_of(type("SchemaInfoEnum").members,
                          [](const Member& member) { return member.name == "members"; });
  Description description(members, compat);
  for (const Message& message : messages_)
    if (!is_untold(message.features, compat)) description.add(message);
  return std::move(description).finish();
}

void Schema::hide_output(const Type& type, Json& value, const Compat& compat) const {
  if (compat.deprecated_output == Compat::Output::accept &&
      compat.unstable_output == Compat::Output::accept)
    return;
  if (type.kind == Kind::array && value.is_array()) {
    for (Json& element : value) hide_output(*type.element, element, compat);
  } else if (type.kind == Kind::alternate) {
    for (const Type* alternative : type.alternatives)
      if (alternative->kind == Kind::object) hide_output(*alternative, value, compat);
  } else if (type.kind == Kind::object && value.is_object()) {
    for (const Member& member : type.members) {
      const auto found = value.find(member.name);
      if (found == value.end()) continue;
      if (is_hidden(member.features, compat))
        value.erase(found);
      else
        hide_output(*member.type, *found, compat);
    }
    if (type.tag == nullptr || !value.contains(type.tag->name)) return;
    const Json& tag = value[type.tag->name];
    const Type* branch = tag.is_string() ? type.branch(tag.get<std::string>()) : nullptr;
    if (branch != nullptr) hide_output(*branch, value, compat);
  }
}

}  // namespace sim::qmp
