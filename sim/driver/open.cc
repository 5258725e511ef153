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

// A driver and those of its options (QAPI: BlockdevOptions…) that are simulated, or that change
// nothing that can be seen (caches' sizes, how files are read).
struct Driver {
  std::string_view name;
  std::string_view options;
  Open open;
};
static constexpr std::string_view kCommonOptions =
    "driver|node-name|discard|cache|read-only|auto-read-only|force-share|detect-zeroes";
static constexpr std::array kDrivers = {
    Driver{"file", "filename|locking|aio|aio-max-batch|drop-cache", open_file},
    Driver{"raw", "file|offset|size", open_raw},
    Driver{"qcow2",
           "file|backing|cache-size|l2-cache-size|l2-cache-entry-size|refcount-cache-size|"
           "cache-clean-interval",
           open_qcow2},
};

static Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

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

static Result<const Driver*> find_driver(const std::string& name) {
  const auto driver = std::ranges::find(kDrivers, name, &Driver::name);
  if (driver != kDrivers.end()) return &*driver;
  if (!is_other_driver(name)) return generic(fmt::format("Unknown driver '{}'", name));
  return generic(fmt::format("understudy: driver '{}' is not in this version", name));
}

// What is declared but not simulated is refused by name, never silently ignored.
static Result<> check_simulated(const Driver& driver, const Json& options) {
  for (const auto& [name, value] : options.items())
    if (!is_listed(kCommonOptions, name) && !is_listed(driver.options, name))
      return generic(fmt::format("understudy: option '{}' of driver '{}' is not in this version",
                                 name, driver.name));
  return ok();
}

Task<Result<NodePtr>> open_node(Graph& graph, Json options, bool root, Inherited inherited) {
  CO_TRY(const Driver* driver, find_driver(options["driver"].get<std::string>()));
  CO_TRY_OK(check_simulated(*driver, options));
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
