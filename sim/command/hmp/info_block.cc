#include "sim/command/hmp/info_block.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/base/human.h"

namespace sim::command::hmp {

namespace {

std::string_view yes_no(bool value) { return value ? "true" : "false"; }

// QAPI: BlockLimitsInfo, in the order in which it is told.
constexpr std::array<std::pair<const char*, std::string_view>, 6> kLimits = {{
    {"write-zeroes-alignment", "write zeroes alignment"},
    {"request-alignment", "request alignment"},
    {"min-mem-alignment", "min mem alignment"},
    {"discard-alignment", "discard alignment"},
    {"opt-mem-alignment", "opt mem alignment"},
    {"max-iov", "max iov"},
}};

void append_format(std::string& text, const Json& image) {
  const Json specific = image.value("format-specific", Json::object());
  if (specific.value("type", "") != "qcow2") return;
  const Json& data = specific["data"];
  text += "Format specific information:\n";
  text += fmt::format("    compat: {}\n", data["compat"].get<std::string>());
  text += fmt::format("    compression type: {}\n", data["compression-type"].get<std::string>());
  text += fmt::format("    lazy refcounts: {}\n", yes_no(data["lazy-refcounts"]));
  text += fmt::format("    refcount bits: {}\n", data["refcount-bits"].dump());
  text += fmt::format("    corrupt: {}\n", yes_no(data["corrupt"]));
  text += fmt::format("    extended l2: {}\n", yes_no(data["extended-l2"]));
}

// QAPI: ImageInfo, of one image.
void append_image(std::string& text, const Json& image) {
  const auto string = [&](const char* name) { return image[name].get<std::string>(); };
  const std::uint64_t size = image["virtual-size"];
  text += fmt::format("image: {}\nfile format: {}\n", string("filename"), string("format"));
  text += fmt::format("virtual size: {} ({} bytes)\n", human_size(size), size);
  text +=
      fmt::format("disk size: {}\n",
                  image.contains("actual-size") ? human_size(image["actual-size"]) : "unavailable");
  if (image.contains("cluster-size"))
    text += fmt::format("cluster_size: {}\n", image["cluster-size"].dump());
  if (image.contains("backing-filename")) {
    text += "backing file: " + string("backing-filename");
    if (image["full-backing-filename"] != image["backing-filename"])
      text += fmt::format(" (actual path: {})", string("full-backing-filename"));
    text += '\n';
    if (image.contains("backing-filename-format"))
      text += fmt::format("backing file format: {}\n", string("backing-filename-format"));
  }
  if (image.contains("limits")) {
    text += "Block limits:\n";
    for (const auto& [name, words] : kLimits)
      if (image["limits"].contains(name))
        text += fmt::format("    {}: {}\n", words, image["limits"][name].dump());
  }
  append_format(text, image);
}

void append_throttling(std::string& text, const Json& node) {
  constexpr std::array<const char*, 6> kNames = {"bps",  "bps_rd",  "bps_wr",
                                                 "iops", "iops_rd", "iops_wr"};
  if (std::ranges::none_of(kNames, [&](const char* name) { return node.value(name, 0) != 0; }))
    return;
  text += "    I/O throttling:  ";
  for (const std::size_t half : {0, 3})
    for (const std::string_view suffix : {"", "_max"})
      for (std::size_t i = half; i < half + 3; ++i) {
        const std::string name = std::string(kNames[i]) + std::string(suffix);
        text += fmt::format(" {}={}", name, node.value(name, std::uint64_t{0}));
      }
  text += fmt::format(" iops_size={} group={}\n", node.value("iops_size", std::uint64_t{0}),
                      node.value("group", ""));
}

// QAPI: BlockInfo, which a node alone has not.
void append_device(std::string& text, const Json& device) {
  if (device.contains("qdev"))
    text += fmt::format("    Attached to:      {}\n", device["qdev"].get<std::string>());
  if (device.value("io-status", "ok") != "ok")
    text += fmt::format("    I/O status:       {}\n", device["io-status"].get<std::string>());
  if (device["removable"])
    text += fmt::format("    Removable device: {}locked, tray {}\n", device["locked"] ? "" : "not ",
                        device.value("tray_open", false) ? "open" : "closed");
}

std::string title_of(const Json* device, const Json* node) {
  const std::string name = device != nullptr ? device->value("device", "") : "";
  const std::string node_name = node != nullptr ? node->value("node-name", "") : "";
  if (!name.empty()) return node != nullptr ? fmt::format("{} ({})", name, node_name) : name;
  if (node != nullptr) return node_name;
  return device->value("qdev", "<anonymous>");
}

// `device`: null for a node by itself.  `node`: null for an empty device.
std::string describe(const Json* device, const Json* node, bool verbose) {
  std::string text = title_of(device, node);
  if (node == nullptr) {
    text += ": [not inserted]\n";
    append_device(text, *device);
    return text;
  }
  const Json& info = *node;
  const auto string = [&](const char* name) { return info[name].get<std::string>(); };
  text += fmt::format(": {} ({}{}{})\n", string("file"), string("drv"),
                      info["ro"] ? ", read-only" : "", info["encrypted"] ? ", encrypted" : "");
  if (device != nullptr) append_device(text, *device);
  const Json& cache = info["cache"];
  text += fmt::format(
      "    Cache mode:       {}{}{}\n", cache["writeback"] ? "writeback" : "writethrough",
      cache["direct"] ? ", direct" : "", cache["no-flush"] ? ", ignore flushes" : "");
  if (info.contains("backing_file"))
    text += fmt::format("    Backing file:     {} (chain depth: {})\n", string("backing_file"),
                        info["backing_file_depth"].dump());
  if (info["detect_zeroes"] != "off")
    text += fmt::format("    Detect zeroes:    {}\n", string("detect_zeroes"));
  append_throttling(text, info);
  if (!verbose) return text;
  text += "\nImages:\n";
  const Json* image = &info["image"];
  append_image(text, *image);
  while (image->contains("backing-image")) {
    image = &(*image)["backing-image"];
    append_image(text, *image);
  }
  return text;
}

struct Options {
  bool nodes = false, verbose = false;
  std::string name;  // of a device or a node; empty: all
};

// The text that refuses them.  -n comes before -v, each at most once; what else there is in their
// place is a name.
std::expected<Options, std::string> read_options(std::span<const std::string> words) {
  constexpr std::string_view kMore = "Try \"help info block\" for more information\n";
  Options options;
  std::string_view later = "nv";
  while (!later.empty()) {
    const char flag = later.front();
    later.remove_prefix(1);
    if (words.empty() || words.front().size() < 2 || words.front().front() != '-') continue;
    const char given = words.front()[1];
    if (given == flag) {
      (flag == 'n' ? options.nodes : options.verbose) = true;
      words = words.subspan(1);
    } else if (!later.contains(given)) {
      return std::unexpected(fmt::format("block: unsupported option -{}\n{}", given, kMore));
    }
  }
  if (words.size() > 1)
    return std::unexpected(
        fmt::format("block: extraneous characters at the end of line\n{}", kMore));
  if (!words.empty()) options.name = words.front();
  return options;
}

// The nodes of that name, or all; with an empty line before each but the list's first.
std::string describe_nodes(const Json& nodes, const Options& options) {
  std::string text;
  for (const Json& node : nodes)
    if (options.name.empty() || node["node-name"] == options.name)
      text += (&node == &nodes.front() ? "" : "\n") + describe(nullptr, &node, options.verbose);
  return text;
}

}  // namespace

Task<Result<std::string>> info_block(Context& context, std::vector<std::string> words) {
  const auto options = read_options(words);
  if (!options) co_return options.error();
  CO_TRY(const Json devices, co_await run_command(context, "query-block", Json::object()));
  std::string text;
  bool found = false;
  for (const Json& device : devices) {
    if (options->nodes || (!options->name.empty() && device["device"] != options->name)) continue;
    if (&device != &devices.front()) text += '\n';
    found = true;
    text += describe(&device, device.contains("inserted") ? &device["inserted"] : nullptr,
                     options->verbose);
  }
  if (!options->nodes && (options->name.empty() || found)) co_return text;
  CO_TRY(const Json nodes,
         co_await run_command(context, "query-named-block-nodes", Json::object()));
  co_return text + describe_nodes(nodes, *options);
}

Task<Result<std::string>> info_block_jobs(Context& context, std::vector<std::string> words) {
  if (!words.empty())
    co_return std::string(
        "block-jobs: extraneous characters at the end of line\n"
        "Try \"help info block-jobs\" for more information\n");
  CO_TRY(const Json jobs, co_await run_command(context, "query-block-jobs", Json::object()));
  if (jobs.empty()) co_return std::string("No active jobs\n");
  std::string text;
  for (const Json& job : jobs) {
    const std::string type = job["type"], device = job["device"];
    text += type == "stream" ? fmt::format("Streaming device {}", device)
                             : fmt::format("Type {}, device {}", type, device);
    text += fmt::format(": Completed {} of {} bytes, speed limit {} bytes/s\n",
                        job["offset"].dump(), job["len"].dump(), job["speed"].dump());
  }
  co_return text;
}

}  // namespace sim::command::hmp
