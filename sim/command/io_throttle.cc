// block_set_io_throttle: limits of one device, or of a group of them.

#include <fmt/format.h>

#include <array>

#include "sim/command/context.h"

namespace sim::command {

namespace {

// The argument's name and the limit's.
struct Limit {
  std::string_view argument, name;
};
constexpr std::array kLimits = {Limit{"bps", "bps-total"},     Limit{"bps_rd", "bps-read"},
                                Limit{"bps_wr", "bps-write"},  Limit{"iops", "iops-total"},
                                Limit{"iops_rd", "iops-read"}, Limit{"iops_wr", "iops-write"}};

// As ThrottleLimits reads it.
Json to_limits(const Json& arguments) {
  Json limits = Json::object();
  const auto set = [&](const std::string& argument, const std::string& name) {
    if (arguments.contains(argument)) limits[name] = arguments[argument];
  };
  for (const Limit& limit : kLimits) {
    const std::string argument(limit.argument), name(limit.name);
    set(argument, name);
    set(argument + "_max", name + "-max");
    set(argument + "_max_length", name + "-max-length");
    // Taken as if it were without a sign.
    if (limits.value(name + "-max-length", 0) < 0)
      limits[name + "-max-length"] = std::int64_t{1'000'000'000'000'000};
  }
  set("iops_size", "iops-size");
  return limits;
}

// Looked at before single values, whatever these are.
Result<> check_mixture(const Json& arguments) {
  const auto is_set = [&](std::string_view name, std::string_view suffix) {
    return arguments.value(fmt::format("{}{}", name, suffix), std::int64_t{0}) != 0;
  };
  for (const std::string_view suffix : {"", "_max"})
    for (const std::string_view total : {"bps", "iops"})
      if (is_set(total, suffix) && (is_set(fmt::format("{}_rd", total), suffix) ||
                                    is_set(fmt::format("{}_wr", total), suffix)))
        return Error{
            ErrorClass::generic,
            "bps/iops/max total values and read/write values cannot be used at the same time"};
  return ok();
}

Task<Result<Json>> set_io_throttle(Context& context, Json arguments) {
  CO_TRY(block::Backend * backend, backend_of(context, arguments));
  if (!backend->node()) co_return Error{ErrorClass::generic, "Device has no medium"};
  block::ThrottleLimits limits;
  CO_TRY_OK(check_mixture(arguments));
  CO_TRY_OK(limits.change(to_limits(arguments)));
  CO_TRY_OK(limits.check());
  if (!limits.limits_anything()) {
    backend->set_throttle_group("", nullptr);
    co_return Json::object();
  }
  // Without a name: the one it is in, or one of its own.
  std::string group = backend->throttle_group()      ? backend->throttle_group_name()
                      : arguments.contains("device") ? arguments["device"].get<std::string>()
                                                     : arguments["id"].get<std::string>();
  if (arguments.contains("group")) group = arguments["group"];
  if (!backend->throttle_group() || backend->throttle_group_name() != group)
    backend->set_throttle_group(group,
                                context.graph.throttle_groups.find_or_make(context.world, group));
  backend->throttle_group()->set_limits(limits);
  co_return Json::object();
}

constexpr std::array kCommands = {
    Command{"block_set_io_throttle", set_io_throttle},
};

}  // namespace

std::span<const Command> io_throttle_commands() { return kCommands; }

}  // namespace sim::command
