// -drive: a block backend with a name, the node in it, and the device that `if` asks for.
//
// Source: what QEMU's own -help says of -drive; names and texts measured on 5.2 to 11.1.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/base/text.h"
#include "sim/command/context.h"
#include "sim/command/new_image.h"
#include "sim/driver/name.h"

namespace sim::command {

namespace {

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

constexpr std::string_view kOptions =
    "if|id|file|format|driver|node-name|cache|readonly|read-only|snapshot|werror|rerror|discard|"
    "detect-zeroes|media|aio";

// The options of one -drive.
class Drive {
 public:
  Drive(Context& context, const Json& options) : context_(context), options_(options) {}

  // What is known and not simulated is refused by name.
  Result<> check() const {
    for (const auto& [name, value] : options_.items())
      if (!is_listed(kOptions, name))
        return generic(
            fmt::format("understudy: option '{}' of -drive is not in this version", name));
    if (bus() != "none" && bus() != "virtio")
      return generic(fmt::format("understudy: -drive if={} is not in this version", bus()));
    if (is_on("snapshot") && options_.contains("node-name"))
      return generic("understudy: -drive snapshot=on with a node name is not in this version");
    return check_values();
  }

  std::string bus() const { return options_.value("if", "ide"); }
  std::string text(const char* name) const { return options_.value(name, ""); }
  bool is_on(const char* name) const { return text(name) == "on"; }
  bool is_empty() const { return text("file").empty() && format().empty(); }
  std::string format() const { return text(options_.contains("driver") ? "driver" : "format"); }
  bool is_read_only() const {
    return is_on("readonly") || is_on("read-only") || text("media") == "cdrom";
  }
  // "none0": by how many drives of that kind there are.
  std::string name() const {
    if (options_.contains("id")) return text("id");
    return fmt::format("{}{}", bus(), context_.drives_by_bus[bus()]);
  }
  std::optional<block::OnError> policy(const char* name) const {
    const auto found = std::ranges::find(block::kOnErrorNames, text(name));
    if (found == block::kOnErrorNames.end()) return std::nullopt;
    return static_cast<block::OnError>(found - block::kOnErrorNames.begin());
  }

  // The options of the image itself.
  Task<Result<driver::Named>> node_options() const {
    if (text("file").empty()) co_return generic("A block device must be specified for \"file\"");
    const std::string cache = text("cache");
    Json given = Json::object();
    if (!format().empty()) given["driver"] = format();
    for (const char* name : {"node-name", "detect-zeroes"})
      if (options_.contains(name)) given[name] = options_[name];
    Json defaults = {{"read-only", is_read_only()},
                     {"cache",
                      {{"direct", cache == "none" || cache == "off" || cache == "directsync"},
                       {"no-flush", cache == "unsafe"}}}};
    if (is_listed("unmap|on", text("discard"))) defaults["discard"] = "unmap";
    co_return co_await driver::options_of_name(context_.graph, text("file"), std::move(given),
                                               std::move(defaults));
  }
  bool writes_through() const {
    return text("cache") == "writethrough" || text("cache") == "directsync";
  }

 private:
  Result<> check_values() const {
    const auto is_one_of = [&](const char* name, std::string_view words) {
      return !options_.contains(name) || is_listed(words, text(name));
    };
    if (!is_one_of("discard", "ignore|off|unmap|on")) return generic("Invalid discard option");
    if (!is_one_of("werror", "ignore|stop|report|enospc"))
      return generic(fmt::format("'{}' invalid write error action", text("werror")));
    if (!is_one_of("rerror", "ignore|stop|report"))
      return generic(fmt::format("'{}' invalid read error action", text("rerror")));
    if (!is_one_of("detect-zeroes", "off|on|unmap"))
      return generic(fmt::format("invalid parameter value: {}", text("detect-zeroes")));
    return ok();
  }

  Context& context_;
  const Json& options_;
};

// snapshot=on: what is written goes to an image that nobody sees and that goes with the machine.
Task<Result<block::NodePtr>> open_snapshot(Context& context, Json base_options) {
  base_options["read-only"] = true;
  CO_TRY(const block::NodePtr base,
         co_await driver::open_node(context.graph, std::move(base_options), false));
  const std::string name = fmt::format("/var/tmp/vl.{:06x}", context.world.rng.below(0x1000000));
  CO_TRY_OK(
      co_await create_image(context, {.filename = name, .format = "qcow2", .size = base->size()}));
  auto opened = co_await driver::open_node(context.graph,
                                           Json{{"driver", "qcow2"},
                                                {"file", {{"driver", "file"}, {"filename", name}}},
                                                {"backing", base->name()},
                                                {"cache", {{"no-flush", true}}}},
                                           false);
  CO_TRY_OK(context.graph.files().remove(name));  // it stays as long as it is open
  co_return opened;
}

Task<Result<block::NodePtr>> open_drive(Context& context, const Drive& drive) {
  CO_TRY(driver::Named named, co_await drive.node_options());
  if (drive.is_on("snapshot")) co_return co_await open_snapshot(context, std::move(named.options));
  CO_TRY(const block::NodePtr node,
         co_await driver::open_node(context.graph, std::move(named.options), false));
  node->probed = named.probed;
  co_return node;
}

}  // namespace

Task<Result<>> add_drive(Context& context, Json options) {
  const Drive drive(context, options);
  CO_TRY_OK(drive.check());
  const std::string name = drive.name();
  ++context.drives_by_bus[drive.bus()];
  block::NodePtr node;
  if (!drive.is_empty()) {
    CO_TRY(node, co_await open_drive(context, drive));
  }
  if (context.graph.find(name))
    co_return generic(fmt::format("Device name '{}' conflicts with an existing node name", name));
  auto backend = std::make_unique<block::Backend>(
      context.graph, name, block::Permission{block::kConsistentRead, block::kAllPermissions});
  backend->on_read_error = drive.policy("rerror").value_or(block::OnError::report);
  backend->on_write_error = drive.policy("werror").value_or(block::OnError::enospc);
  backend->write_cache = !drive.writes_through();
  backend->medium_is_read_only = drive.is_read_only();
  if (node) {
    CO_TRY_OK(backend->insert(node));
  } else {
    const bool counts = context.profile.devices_count_failures;
    backend->accounting.counts_failed = backend->accounting.counts_invalid = counts;
  }
  context.drives.push_back(std::move(backend));
  if (drive.bus() == "none") co_return ok();
  context.connected_drives.insert(name);
  CO_TRY_OK(
      co_await run_command(context, "device_add", {{"driver", "virtio-blk-pci"}, {"drive", name}}));
  co_return ok();
}

}  // namespace sim::command
