#include "real-qemu/differential/malformed_calls.h"

#include <string>
#include <vector>

namespace differential {

namespace {

using sim::Json;
using sim::qmp::Kind;
using sim::qmp::Member;
using sim::qmp::Type;

// Some value that the type accepts.
Json acceptable(const Type& type) {
  switch (type.kind) {
    case Kind::string:
    case Kind::any:
      return "x";
    case Kind::boolean:
      return false;
    case Kind::integer:
    case Kind::unsigned_size:
    case Kind::number:
      return 0;
    case Kind::enumeration:
      return type.values.front().name;
    case Kind::array:
      return Json::array();
    case Kind::alternate:
      for (const Type* alternative : type.alternatives)
        if (alternative->kind == Kind::string) return "x";
      return acceptable(*type.alternatives.front());
    case Kind::null:
    case Kind::object:
      break;
  }
  if (type.kind != Kind::object) return nullptr;
  Json object = Json::object();
  for (const Member& member : type.members)
    if (!member.optional) object[member.name] = acceptable(*member.type);
  if (type.tag == nullptr) return object;
  const Type* branch = type.branch(object[type.tag->name].get<std::string>());
  if (branch != nullptr) object.update(acceptable(*branch));
  return object;
}

class Calls {
 public:
  // Puts a value at the place of the type that is looked at.
  using Wrap = std::function<Json(Json)>;

  Calls(const std::vector<Json>& poor, std::set<std::size_t>& seen,
        const std::function<void(const Json&)>& ask)
      : poor_(poor), seen_(seen), ask_(ask) {}

  void into(const Type& type, const Wrap& wrap) {
    switch (type.kind) {
      case Kind::array:
        spoil(*type.element, [&](Json inner) { return wrap(Json::array({inner})); });
        spoil(*type.element,
              [&](Json inner) { return wrap(Json::array({acceptable(*type.element), inner})); });
        into(*type.element, [&](Json inner) { return wrap(Json::array({inner})); });
        break;
      case Kind::alternate:
        for (const Type* alternative : type.alternatives) into(*alternative, wrap);
        break;
      case Kind::object:
        if (seen_.insert(type.number).second) object(type, wrap);
        break;
      default:
        break;
    }
  }

  void object(const Type& type, const Wrap& wrap) {
    const Json good = acceptable(type);
    spoiled(good, wrap);
    members(type, good, wrap);
    if (type.tag == nullptr) return;
    for (const sim::qmp::Value& value : type.tag->type->values) {
      Json tagged = Json::object();
      for (const Member& member : type.members)
        if (!member.optional) tagged[member.name] = acceptable(*member.type);
      tagged[type.tag->name] = value.name;
      ask_(wrap(tagged));
      const Type* branch = type.branch(value.name);
      if (branch == nullptr) continue;
      tagged.update(acceptable(*branch));
      spoiled(tagged, wrap);
      if (seen_.insert(branch->number).second) members(*branch, tagged, wrap);
    }
  }

 private:
  void spoiled(Json object, const Wrap& wrap) {
    object["unheard-of"] = 1;
    ask_(wrap(object));
    if (poor_.empty()) return;
    // Of several the one is named that comes first in QEMU's hash table.
    for (int i = 0; i < 40; i += 3) {
      for (int j = i; j < i + 3; ++j) object["unheard-of-" + std::to_string(j * j)] = 1;
      ask_(wrap(object));
    }
  }
  void spoil(const Type& type, const Wrap& wrap) {
    for (const Json& value : poor_) ask_(wrap(value));
    if (type.kind == Kind::enumeration)
      for (const sim::qmp::Value& value : type.values) ask_(wrap(value.name));
  }
  void members(const Type& type, const Json& good, const Wrap& wrap) {
    for (const Member& member : type.members) {
      const auto with = [&](Json inner) {
        Json object = good;
        object[member.name] = std::move(inner);
        return wrap(object);
      };
      Json without = good;
      without.erase(member.name);
      ask_(wrap(without));
      spoil(*member.type, with);
      into(*member.type, with);
    }
  }

  const std::vector<Json>& poor_;
  std::set<std::size_t>& seen_;
  const std::function<void(const Json&)>& ask_;
};

}  // namespace

std::vector<Json> poor_values() {
  const auto big = std::uint64_t{1} << 63;
  return {"x",
          true,
          nullptr,
          Json::array(),
          Json::object(),
          1.0,
          1.5,
          -1,
          0,
          65536,
          std::int64_t{1} << 31,
          std::int64_t{1} << 32,
          INT64_MIN,
          big,
          UINT64_MAX,
          1e30,
          -1e30,
          Json::array({1}),
          Json::array({"x"}),
          Json::array({nullptr}),
          Json{{"driver", "nope"}}};
}

void make_malformed_calls(const sim::qmp::Message& command, const std::vector<Json>& poor,
                          std::set<std::size_t>& seen,
                          const std::function<void(const Json& arguments)>& ask) {
  // Whatever else is wrong, this is; and it is the last thing to be looked at.
  const auto wrap = [](Json arguments) {
    if (arguments.is_object()) arguments["not-declared"] = 1;
    return arguments;
  };
  ask(wrap(Json::object()));
  Calls calls(poor, seen, ask);
  seen.insert(command.arguments->number);
  calls.object(*command.arguments, wrap);
}

}  // namespace differential
