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
static constexpr std::string_view kOtherDrivers =
    "blklogwrites|blkreplay|blkverify|bochs|cloop|compress|dmg|ftp|ftps|gluster|"
    "host_cdrom|host_device|http|https|io_uring|iscsi|luks|nbd|nfs|nvme|nvme-io_uring|parallels|"
    "qcow|qed|quorum|rbd|replication|ssh|vdi|vhdx|vmdk|vpc|vvfat";

bool is_other_driver(std::string_view name) { return is_listed(kOtherDrivers, name); }

bool is_protocol(const block::Node& node) {
  return node.children().empty() || node.driver() == "blkdebug";
}

// A driver and those of its options (QAPI: BlockdevOptions…) that are simulated, or that change
// nothing that can be seen (caches' sizes, how files are read).
struct Driver {
  std::string_view name;
  std::string_view options;
  Open open;
};
static constexpr std::string_view kCommonOptions =
    "driver|node-name|active|discard|cache|read-only|auto-read-only|force-share|detect-zeroes";
static constexpr std::array kDrivers = {
    Driver{"blkdebug",
           "image|inject-error|set-state|config|align|max-transfer|opt-write-zero|max-write-zero|"
           "opt-discard|max-discard|take-child-perms|unshare-child-perms",
           open_blkdebug},
    Driver{"copy-on-read", "file|bottom", open_copy_on_read},
    Driver{"copy-before-write", "file|target|bitmap|on-cbw-error|min-cluster-size",
           open_copy_before_write},
    Driver{"file", "filename|locking|aio|aio-max-batch|drop-cache|x-check-cache-dropped",
           open_file},
    Driver{"null-aio", "size|latency-ns|read-zeroes", open_null},
    Driver{"null-co", "size|latency-ns|read-zeroes", open_null},
    Driver{"preallocate", "file|prealloc-align|prealloc-size", open_preallocate},
    Driver{"raw", "file|offset|size", open_raw},
    Driver{"qcow2",
           "file|backing|cache-size|l2-cache-size|l2-cache-entry-size|refcount-cache-size|"
           "cache-clean-interval|pass-discard-request|pass-discard-snapshot|pass-discard-other|"
           "overlap-check|lazy-refcounts|discard-no-unref|encrypt|data-file",
           open_qcow2},
    Driver{"snapshot-access", "file", open_snapshot_access},
    Driver{"throttle", "file|throttle-group", open_throttle},
};

static Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

Result<> check_sizes(const Json& options, std::initializer_list<const char*> names,
                     const Profile& profile) {
  for (const char* name : names)
    if (options.contains(name) && options[name] < 0)
      return generic(
          profile.bad_size_says_range
              ? fmt::format("Value '{}' is out of range for parameter '{}'",
                            options[name].get<std::int64_t>(), name)
              : fmt::format("Parameter '{}' expects a non-negative number below 2^64", name));
  return ok();
}

Result<> settle(Graph& graph, Common& common) {
  if (common.refusal) return *common.refusal;
  TRY(common.name, graph.choose_name(common.name));
  return ok();
}

static Common common_of(const Graph& graph, const Json& options, const Inherited& inherited) {
  Common common;
  common.name = options.value("node-name", "");
  common.read_only = options.value("read-only", inherited.read_only);
  common.auto_read_only = options.value("auto-read-only", inherited.auto_read_only);
  common.inactive = !options.value("active", true);
  const Json cache = options.value("cache", Json::object());
  common.for_children = {.read_only = common.read_only,
                         .auto_read_only = common.auto_read_only,
                         .cache_direct = cache.value("direct", inherited.cache_direct),
                         .cache_no_flush = cache.value("no-flush", inherited.cache_no_flush),
                         .unmap = true,
                         .force_share = options.value("force-share", inherited.force_share)};
  const std::string discard = options.value("discard", inherited.unmap ? "unmap" : "ignore");
  if (common.for_children.force_share && !common.read_only)
    common.refusal = generic("force-share=on can only be used with read-only images");
  else if (options.value("detect-zeroes", "off") == "unmap" && discard != "unmap")
    common.refusal = generic(
        "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap");
  else if (options.contains("node-name") && common.name.empty())
    common.refusal = generic(graph.profile().bad_node_name_is_quoted ? "Invalid node-name: ''"
                                                                     : "Invalid node name");
  return common;
}

static void set_common(block::Node& node, const Common& common, const Json& options,
                       const Inherited& inherited) {
  node.read_only = common.read_only;
  node.inactive = common.inactive;
  node.auto_read_only = common.auto_read_only;
  node.cache_direct = common.for_children.cache_direct;
  node.cache_no_flush = common.for_children.cache_no_flush;
  node.discard_unmap = options.value("discard", inherited.unmap ? "unmap" : "ignore") == "unmap";
  node.force_share = common.for_children.force_share;
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

Result<> check_driver(const std::string& name) {
  TRY_OK(find_driver(name));
  return ok();
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
  if (root && !options.contains("node-name"))
    co_return generic("'node-name' must be specified for the root node");
  const Common common = common_of(graph, options, inherited);
  CO_TRY(const NodePtr node, co_await driver->open(graph, common, options));
  set_common(*node, common, options, inherited);
  if (!graph.find(node->name())) graph.add(node);
  for (const block::EdgePtr& edge : node->children()) {
    const auto given = options.find(edge->name());
    if (given == options.end() || given->is_object()) (*edge)->opened_for = node;
  }
  co_return node;
}

Task<Result<NodePtr>> open_child(Graph& graph, Json reference, Inherited inherited) {
  if (!reference.is_string())
    co_return co_await open_node(graph, std::move(reference), false, inherited);
  co_return graph.find_device_or_node(reference.get<std::string>());
}

}  // namespace sim::driver
