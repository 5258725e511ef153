// object-add, object-del, and what QOM tells of them: throttle groups, secrets, I/O threads.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/base/base64.h"
#include "sim/base/text.h"
#include "sim/block/throttle.h"
#include "sim/command/context.h"

namespace sim::command {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

bool is_throttle_property(const std::string& name) {
  return is_listed("qom-type|id|limits|x-iops-size", name) || name.starts_with("x-bps-") ||
         name.starts_with("x-iops-");
}

// 5.2 takes any members, and has them in `props` as well.
Result<Json> flatten(const Context& context, Json arguments) {
  if (context.profile.objects_are_checked_by_schema) return arguments;
  if (const auto props = arguments.find("props"); props != arguments.end()) {
    if (!props->is_object()) return generic("Invalid parameter type for 'props', expected: dict");
    Json inner = *props;
    arguments.erase("props");
    arguments.update(inner);
  }
  return arguments;
}

Result<> add_throttle_group(Context& context, const std::string& id, const Json& arguments) {
  for (const auto& [name, value] : arguments.items()) {
    if (!is_throttle_property(name))
      return generic(fmt::format("Property 'throttle-group.{}' not found", name));
    if (name.starts_with("x-") && !value.is_number_integer())
      return generic(fmt::format("Invalid parameter type for '{}', expected: integer", name));
  }
  block::ThrottleLimits limits;
  TRY_OK(limits.change(arguments, "x-"));
  if (arguments.contains("limits")) {
    for (const auto& [name, value] : arguments["limits"].items())
      if (!is_throttle_property("x-" + name))
        return generic(fmt::format("Parameter 'limits.{}' is unexpected", name));
    TRY_OK(limits.change(arguments["limits"]));
  }
  TRY_OK(limits.check());
  if (context.graph.throttle_groups.find(id))
    return generic("A group with this name already exists");
  auto group = std::make_shared<block::ThrottleGroup>(context.world);
  group->set_limits(limits);
  context.graph.throttle_groups.objects.emplace(id, std::move(group));
  return ok();
}

Result<> add_secret(Context& context, const std::string& id, const Json& arguments) {
  const bool data = arguments.contains("data"), file = arguments.contains("file");
  if (data && file) return generic("'file' and 'data' are mutually exclusive");
  if (!data && !file) return generic("Either 'file' or 'data' must be provided");
  for (const char* name : {"file", "keyid", "iv"})
    if (arguments.contains(name))
      return generic(
          fmt::format("understudy: property '{}' of 'secret' is not in this version", name));
  std::string secret = arguments["data"].get<std::string>();
  if (arguments.value("format", "raw") == "base64") {
    auto decoded = decode_base64(secret);
    if (!decoded) return generic("Base64 data contains invalid characters");
    secret = *std::move(decoded);
  }
  context.graph.secrets.emplace(id, std::move(secret));
  return ok();
}

bool is_taken(const Context& context, const std::string& id) {
  return context.graph.throttle_groups.objects.contains(id) || context.graph.secrets.contains(id) ||
         context.iothreads.contains(id);
}

Task<Result<Json>> object_add(Context& context, Json arguments) {
  CO_TRY(arguments, flatten(context, std::move(arguments)));
  const std::string type = arguments["qom-type"].get<std::string>();
  const std::string id = arguments["id"].get<std::string>();
  const bool known = type == "throttle-group" || type == "secret" || type == "iothread";
  if (!known) {
    if (!context.profile.objects_are_checked_by_schema)
      co_return generic(fmt::format("invalid object type: {}", type));
    co_return generic(fmt::format("understudy: object type '{}' is not in this version", type));
  }
  if (context.profile.objects_are_checked_by_schema && !is_well_formed_id(id))
    co_return generic("Parameter 'id' expects an identifier");
  Result<> added = ok();
  if (is_taken(context, id))
    added = generic(
        fmt::format("attempt to add duplicate property '{}' to object (type 'container')", id));
  else if (type == "throttle-group")
    added = add_throttle_group(context, id, arguments);
  else if (type == "secret")
    added = add_secret(context, id, arguments);
  else
    context.iothreads.insert(id);
  CO_TRY_OK(std::move(added));
  co_return Json::object();
}

Task<Result<Json>> object_del(Context& context, Json arguments) {
  const std::string id = arguments["id"].get<std::string>();
  auto& groups = context.graph.throttle_groups.objects;
  if (const auto group = groups.find(id); group != groups.end()) {
    if (group->second.use_count() > 1)
      co_return generic(
          context.profile.throttle_group_tells_references
              ? fmt::format("Cannot delete throttle group '{}' with active references", id)
              : fmt::format("object '{}' is in use, can not be deleted", id));
    groups.erase(group);
  } else if (context.graph.secrets.erase(id) == 0 && context.iothreads.erase(id) == 0) {
    co_return generic(fmt::format("object '{}' not found", id));
  }
  co_return Json::object();
}

// The object at "/objects/ID"; other paths are not in this version.
Result<std::string> object_id(const Context& context, const std::string& path) {
  constexpr std::string_view kObjects = "/objects/";
  if (!path.starts_with(kObjects))
    return generic(fmt::format("understudy: the path '{}' is not in this version", path));
  const std::string id = path.substr(kObjects.size());
  if (!is_taken(context, id))
    return Error{ErrorClass::device_not_found, fmt::format("Device '{}' not found", path)};
  return id;
}

Result<block::ThrottleGroup*> group_at(const Context& context, const std::string& path) {
  TRY(const std::string id, object_id(context, path));
  const auto group = context.graph.throttle_groups.objects.find(id);
  if (group == context.graph.throttle_groups.objects.end())
    return generic("understudy: properties of this object are not in this version");
  return group->second.get();
}

Error no_property(const std::string& name) {
  return generic(fmt::format("Property 'throttle-group.{}' not found", name));
}

Task<Result<Json>> qom_get(Context& context, Json arguments) {
  CO_TRY(const block::ThrottleGroup* group, group_at(context, arguments["path"]));
  const std::string name = arguments["property"];
  Json limits = group->limits().to_json();
  if (name == "limits") co_return limits;
  if (name == "type") co_return Json("throttle-group");
  if (!name.starts_with("x-") || !limits.contains(name.substr(2))) co_return no_property(name);
  co_return limits[name.substr(2)];
}

Task<Result<Json>> qom_set(Context& context, Json arguments) {
  CO_TRY(block::ThrottleGroup * group, group_at(context, arguments["path"]));
  const std::string name = arguments["property"];
  if (name.starts_with("x-") && is_throttle_property(name))
    co_return generic("Property cannot be set after initialization");
  if (name != "limits") co_return no_property(name);
  const Json& value = arguments["value"];
  if (!value.is_object())
    co_return generic("Invalid parameter type for 'limits', expected: object");
  block::ThrottleLimits limits = group->limits();
  for (const auto& [member, wanted] : value.items()) {
    if (!is_throttle_property("x-" + member))
      co_return generic(fmt::format("Parameter 'limits.{}' is unexpected", member));
    if (!wanted.is_number_integer())
      co_return generic(
          fmt::format("Invalid parameter type for 'limits.{}', expected: integer", member));
  }
  CO_TRY_OK(limits.change(value));
  CO_TRY_OK(limits.check());
  group->set_limits(limits);
  co_return Json::object();
}

Task<Result<Json>> query_iothreads(Context& context, Json) {
  Json list = Json::array();
  for (const std::string& id : context.iothreads) {
    const bool shrinks = context.profile.iothreads_poll_by_weight;
    Json thread = {{"id", id},
                   {"thread-id", 1},
                   {"poll-max-ns", 32768},
                   {"poll-grow", shrinks ? 2 : 0},
                   {"poll-shrink", shrinks ? 2 : 0}};
    if (context.profile.objects_are_checked_by_schema) thread["aio-max-batch"] = 0;
    if (shrinks) thread["poll-weight"] = 3;
    list.push_back(std::move(thread));
  }
  co_return list;
}

constexpr std::array kCommands = {
    Command{"object-add", object_add},
    Command{"object-del", object_del},
    Command{"qom-get", qom_get},
    Command{"qom-set", qom_set},
    Command{"query-iothreads", query_iothreads},
};

}  // namespace

std::span<const Command> object_commands() { return kCommands; }

}  // namespace sim::command
