#include "sim/command/new_image.h"

#include <fmt/format.h>

#include "sim/driver/name.h"
#include "sim/qcow2/create.h"

namespace sim::command {

static Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

// A file that is there is emptied only if nobody uses it in a way that forbids it.
static Task<Result<>> check_unused(Context& context, std::string filename) {
  if (!context.graph.files().exists(filename)) co_return ok();
  Json options = {{"driver", "file"}, {"filename", std::move(filename)}};
  auto file = co_await driver::open_node(context.graph, std::move(options), false);
  if (!file) co_return ok();  // creating it tells
  block::Backend creator(
      context.graph, "",
      {block::kWrite | block::kResize, block::kAllPermissions & ~block::kResize});
  co_return creator.insert(*file);
}

// QEMU writes the first of a qcow2 image, then opens it as one.  Whoever writes to the file may
// forbid that: his file is lost.
static Task<Result<>> check_usable(Context& context, const std::string& filename) {
  Json options = {{"driver", "qcow2"},
                  {"file", {{"driver", "file"}, {"filename", filename}}},
                  {"backing", nullptr}};
  auto opened = co_await driver::open_node(context.graph, std::move(options), false);
  if (opened) {
    opened->reset();
    co_await context.graph.collect();
    co_return ok();
  }
  if (context.profile.failed_create_removes_file) CO_TRY_OK(context.graph.files().remove(filename));
  co_return opened.error();
}

// Only files are made.
static Result<std::string> path_of_new(const std::string& filename, const Profile& profile) {
  if (filename.starts_with("json:")) return generic("Unknown protocol 'json'");
  TRY(const Json options, driver::options_of_protocol(filename, profile));
  if (options["driver"] == "file") return options["filename"].get<std::string>();
  return generic(fmt::format("Protocol driver '{}' does not support image creation",
                             options["driver"].get<std::string>()));
}

Task<Result<>> create_image(Context& context, NewImage image) {
  if (image.format != "qcow2" && image.format != "raw" && image.format != "file") {
    if (driver::is_other_driver(image.format))
      co_return generic(
          fmt::format("understudy: format '{}' is not in this version", image.format));
    co_return generic(fmt::format("Unknown file format '{}'", image.format));
  }
  const std::string asked = image.filename;
  CO_TRY(image.filename, path_of_new(image.filename, context.profile));
  if (image.format != "qcow2" && !image.backing_file.empty())
    co_return generic(fmt::format("Backing file not supported for file format '{}'", image.format));
  if (!image.backing_file.empty() && image.backing_file == asked)
    co_return generic(
        "Error: Trying to create an image with the same filename as the backing file");
  CO_TRY_OK(co_await check_unused(context, image.filename));
  auto created = context.graph.files().create(image.filename);
  if (!created) {
    Error error = std::move(created).error();
    error.desc = fmt::format("Could not create '{}': {}", image.filename, error.desc);
    co_return error;
  }
  if (image.format != "qcow2") co_return co_await (*created)->truncate(image.size);
  CO_TRY_OK(co_await qcow2::create(**created, {.size = image.size,
                                               .backing_file = image.backing_file,
                                               .backing_format = image.backing_format}));
  co_return co_await check_usable(context, image.filename);
}

Task<Result<block::NodePtr>> open_image(Context& context, std::string filename, std::string format,
                                        OpenImage how) {
  if (format.empty() && !how.probes) co_return generic("Unknown driver ''");
  Json given = Json::object();
  if (!format.empty()) given["driver"] = format;
  if (how.node_name) given["node-name"] = *how.node_name;
  if (how.is_backup) given.update({{"detect-zeroes", "unmap"}, {"discard", "unmap"}});
  Json defaults = {{"discard", how.unmap ? "unmap" : "ignore"},
                   {"read-only", how.read_only},
                   {"cache", {{"direct", how.cache_direct}, {"no-flush", how.cache_no_flush}}}};
  CO_TRY(driver::Named named,
         co_await driver::options_of_name(context.graph, std::move(filename), std::move(given),
                                          std::move(defaults)));
  if (!how.backing && named.options.contains("backing"))
    co_return generic("Block format 'qcow2' does not support the option 'backing'");
  if (!how.backing && named.options["driver"] == "qcow2") named.options["backing"] = nullptr;
  CO_TRY(block::NodePtr node,
         co_await driver::open_node(context.graph, std::move(named.options), false));
  node->probed = named.probed;
  co_return node;
}

const block::Node& explicit_node(const block::Node& node) {
  const block::Node* at = &node;
  while (at->is_filter() && at->implicit && at->filtered() != nullptr) at = at->filtered();
  return *at;
}

}  // namespace sim::command
