#include "sim/driver/open.h"
#include "sim/base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <span>

namespace sim::driver {

using block::Graph;
using block::NodePtr;

// QAPI: BlockdevDriver of 7.2, without those below.
static constexpr std::array<std::string_view, 38> kOtherDrivers = {
    "blkdebug",     "blklogwrites",
    "blkreplay",    "blkverify",
    "bochs",        "cloop",
    "compress",     "copy-before-write",
    "copy-on-read", "dmg",
    "ftp",          "ftps",
    "gluster",      "host_cdrom",
    "host_device",  "http",
    "https",        "io_uring",
    "iscsi",        "luks",
    "nbd",          "nfs",
    "null-aio",     "null-co",
    "nvme",         "nvme-io_uring",
    "parallels",    "preallocate",
    "qcow",         "qed",
    "quorum",       "rbd",
    "replication",  "snapshot-access",
    "ssh",          "throttle",
    "vdi",          "vhdx"};

bool is_other_driver(std::string_view name) {
  return name == "vmdk" || name == "vpc" || name == "vvfat" ||
         std::ranges::find(kOtherDrivers, name) != kOtherDrivers.end();
}

enum class OptionType : unsigned char {
  string,
  boolean,
  size,
  reference,
  reference_or_null,
  object
};

struct Option {
  std::string_view name;
  OptionType type;
  bool required = false;
  std::string_view values = {};  // an enumeration: "ignore|unmap"
};

// QAPI: BlockdevOptions' common members.
static constexpr std::array kCommon = {
    Option{"driver", OptionType::string, true},
    Option{"node-name", OptionType::string},
    Option{"discard", OptionType::string, false, "ignore|unmap"},
    Option{"cache", OptionType::object},
    Option{"read-only", OptionType::boolean},
    Option{"auto-read-only", OptionType::boolean},
    Option{"detect-zeroes", OptionType::string, false, "off|on|unmap"},
};
static constexpr std::array kFile = {
    Option{"filename", OptionType::string, true},
    Option{"locking", OptionType::string, false, "auto|on|off"},
    Option{"aio", OptionType::string, false, "threads|native|io_uring"},
};
static constexpr std::array kRaw = {
    Option{"file", OptionType::reference, true},
    Option{"offset", OptionType::size},
    Option{"size", OptionType::size},
};
static constexpr std::array kQcow2 = {
    Option{"file", OptionType::reference, true},
    Option{"backing", OptionType::reference_or_null},
};

struct Driver {
  std::string_view name;
  std::span<const Option> options;
  Open open;
};
static constexpr std::array kDrivers = {
    Driver{"file", kFile, open_file},
    Driver{"raw", kRaw, open_raw},
    Driver{"qcow2", kQcow2, open_qcow2},
};

static Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

static Result<> check_type(const Option& option, const Json& value) {
  const auto wrong = [&](std::string_view expected) {
    return generic(
        fmt::format("Invalid parameter type for '{}', expected: {}", option.name, expected));
  };
  switch (option.type) {
    case OptionType::string:
      if (!value.is_string()) return wrong("string");
      if (!option.values.empty() && !is_listed(option.values, value.get_ref<const std::string&>()))
        return generic(fmt::format("Parameter '{}' does not accept value '{}'", option.name,
                                   value.get_ref<const std::string&>()));
      return ok();
    case OptionType::boolean:
      if (!value.is_boolean()) return wrong("boolean");
      return ok();
    case OptionType::size:
      if (!value.is_number_integer()) return wrong("integer");
      return ok();
    case OptionType::reference:
      if (!value.is_string() && !value.is_object()) return wrong("BlockdevRef");
      return ok();
    case OptionType::reference_or_null:
      if (!value.is_string() && !value.is_object() && !value.is_null())
        return wrong("BlockdevRefOrNull");
      return ok();
    case OptionType::object:
      if (!value.is_object()) return wrong("object");
      return ok();
  }
  return ok();
}

static const Option* find_option(std::span<const Option> options, std::string_view name) {
  const auto found = std::ranges::find(options, name, &Option::name);
  return found == options.end() ? nullptr : &*found;
}

// Types first, in the order of the declaration, then what is missing, then what is not known: the
// order in which QEMU's input visitor goes through a structure.
static Result<> validate(const Driver& driver, const Json& options) {
  for (const std::span<const Option> part : {std::span<const Option>(kCommon), driver.options}) {
    for (const Option& option : part) {
      const auto given = options.find(option.name);
      if (given != options.end())
        TRY_OK(check_type(option, *given));
      else if (option.required)
        return generic(fmt::format("Parameter '{}' is missing", option.name));
    }
  }
  for (const auto& [name, value] : options.items())
    if (find_option(kCommon, name) == nullptr && find_option(driver.options, name) == nullptr)
      return generic(fmt::format("Parameter '{}' is unexpected", name));
  return ok();
}

static Result<std::string> choose_name(Graph& graph, const Json& options, bool root) {
  if (!options.contains("node-name")) {
    if (root) return generic("'node-name' must be specified for the root node");
    return graph.generate_name();
  }
  const std::string& name = options["node-name"].get_ref<const std::string&>();
  if (name.empty()) return generic("Invalid node-name: ''");
  return graph.choose_name(name);
}

static Common common_of(std::string name, const Json& options, const Inherited& inherited) {
  Common common;
  common.name = std::move(name);
  common.read_only = options.value("read-only", inherited.read_only);
  common.auto_read_only = options.value("auto-read-only", inherited.auto_read_only);
  const Json cache = options.value("cache", Json::object());
  common.for_children = {.read_only = common.read_only,
                         .auto_read_only = common.auto_read_only,
                         .cache_direct = cache.value("direct", inherited.cache_direct),
                         .cache_no_flush = cache.value("no-flush", inherited.cache_no_flush)};
  return common;
}

static void set_common(block::Node& node, const Common& common, const Json& options,
                       const Inherited& inherited) {
  node.read_only = common.read_only;
  node.auto_read_only = common.auto_read_only;
  node.cache_direct = common.for_children.cache_direct;
  node.cache_no_flush = common.for_children.cache_no_flush;
  node.discard_unmap = options.value("discard", inherited.unmap ? "unmap" : "ignore") == "unmap";
  node.force_share = options.value("force-share", false);
  const std::string detect = options.value("detect-zeroes", "off");
  if (detect != "off")
    node.detect_zeroes = detect == "on" ? block::DetectZeroes::on : block::DetectZeroes::unmap;
  node.options = options;
}

Task<Result<NodePtr>> open_node(Graph& graph, Json options, bool root, Inherited inherited) {
  if (!options.contains("driver")) co_return generic("Parameter 'driver' is missing");
  if (!options["driver"].is_string())
    co_return generic("Invalid parameter type for 'driver', expected: string");
  const std::string driver_name = options["driver"].get<std::string>();
  const auto driver = std::ranges::find(kDrivers, driver_name, &Driver::name);
  if (driver == kDrivers.end() && is_other_driver(driver_name))
    co_return generic(fmt::format("understudy: driver '{}' is not in this version", driver_name));
  if (driver == kDrivers.end())
    co_return generic(fmt::format("Parameter 'driver' does not accept value '{}'", driver_name));
  CO_TRY_OK(validate(*driver, options));
  CO_TRY(std::string name, choose_name(graph, options, root));
  const Common common = common_of(std::move(name), options, inherited);
  CO_TRY(const NodePtr node, co_await driver->open(graph, common, options));
  set_common(*node, common, options, inherited);
  graph.add(node);
  co_return node;
}

Task<Result<NodePtr>> open_child(Graph& graph, Json reference, Inherited inherited) {
  if (!reference.is_string())
    co_return co_await open_node(graph, std::move(reference), false, inherited);
  co_return graph.find_device_or_node(reference.get<std::string>());
}

}  // namespace sim::driver
