#include "sim/driver/name.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/base/qdict_text.h"
#include "sim/base/size.h"
#include "sim/base/text.h"
#include "sim/qmp/json_reader.h"
#include "sim/qmp/keyval.h"

namespace sim::driver {

namespace {

constexpr std::string_view kJson = "json:";
constexpr std::array kChildren = {"file", "image", "backing", "data-file", "target"};
// QEMU's other drivers whose names stand in front of file names, as Debian builds it.
constexpr std::string_view kOtherProtocols =
    "blkverify|fat|host_cdrom|host_device|nbd|nbd+tcp|nbd+unix|nvme|nvme-io_uring";

Error generic(std::string text) { return {ErrorClass::generic, std::move(text)}; }

// Values as they would be spelt on a command line, where all is text.  A driver or a file name that
// is no text is as good as none.
void spell(Json& value) {
  if (value.is_boolean()) value = value == true ? "on" : "off";
  if (value.is_number()) value = value.dump();
  if (value.is_object()) {
    // Drivers read what the schema calls an integer as a size.
    for (auto& [name, member] : value.items())
      if ((name.ends_with("size") || name == "offset") && member.is_string())
        if (const auto size = parse_qemu_size(member.get<std::string>()))
          member = std::to_string(*size);
    for (const char* name : {"driver", "filename"})
      if (const auto found = value.find(name); found != value.end() && !found->is_string())
        value.erase(found);
  }
  if (value.is_structured())
    for (Json& member : value) spell(member);
}

Result<Json> read_json(std::string_view name, const Profile& profile) {
  auto read = qmp::parse_json(name.substr(kJson.size()), profile);
  if (!read) return generic("Could not parse the JSON options: " + read.error().desc);
  if (!read->is_object()) return generic("Invalid JSON object given");
  TRY(Json tree, qdict_nest(*read));
  TRY_OK(qmp::make_lists(tree));
  spell(tree);
  return tree;
}

Result<Json> read_name(const std::string& name, const Profile& profile);

// "blkdebug:CONFIG:IMAGE"; without the protocol in front (it is the format that was named) all is
// the image's name.
Result<Json> read_blkdebug(std::string_view name, const Profile& profile) {
  Json options = {{"driver", "blkdebug"}};
  if (constexpr std::string_view kPrefix = "blkdebug:"; name.starts_with(kPrefix)) {
    name.remove_prefix(kPrefix.size());
    const std::size_t colon = name.find(':');
    if (colon == name.npos) return generic("blkdebug requires both config file and image path");
    if (colon > 0) options["config"] = std::string(name.substr(0, colon));
    name.remove_prefix(colon + 1);
  }
  TRY(options["image"], read_name(std::string(name), profile));
  return options;
}

// The options of a driver that takes names itself.
Result<Json> read_as(std::string_view driver, const std::string& name, const Profile& profile) {
  if (driver == "blkdebug") return read_blkdebug(name, profile);
  if (driver == "file")
    return Json{{"driver", "file"},
                {"filename", name.starts_with("file:") ? name.substr(5) : name}};
  if (name != fmt::format("{}://", driver))
    return generic(fmt::format("The only allowed filename for this driver is '{}://'", driver));
  return Json{{"driver", driver}};
}

bool takes_names(std::string_view driver) {
  return is_listed("blkdebug|file|null-aio|null-co", driver);
}

// The protocol's node that a name leads to.
Result<Json> read_name(const std::string& name, const Profile& profile) {
  if (name.starts_with(kJson)) return read_json(name, profile);
  if (!has_protocol(name)) return Json{{"driver", "file"}, {"filename", name}};
  const std::string protocol = name.substr(0, name.find(':'));
  if (takes_names(protocol)) return read_as(protocol, name, profile);
  if (is_listed(kOtherProtocols, protocol))
    return generic(fmt::format("understudy: protocol '{}' is not in this version", protocol));
  return generic(fmt::format("Unknown protocol '{}'", protocol));
}

// Every option is one of the driver's own, or one that all have.
Result<> check_known(const qmp::Schema& schema, const Json& tree) {
  const std::string driver = tree["driver"];
  const qmp::Type& type = schema.type("BlockdevOptions");
  const qmp::Type* branch = type.branch(driver);
  const auto is_in = [](const qmp::Type* of, const std::string& name) {
    return of != nullptr && std::ranges::any_of(of->members, [&](const qmp::Member& member) {
             return member.name == name;
           });
  };
  for (const auto& [name, value] : tree.items()) {
    if (is_in(&type, name) || is_in(branch, name)) continue;
    const std::string what = takes_names(driver) ? fmt::format("protocol '{}' doesn't", driver)
                                                 : fmt::format("format '{}' does not", driver);
    return generic(fmt::format("Block {} support the option '{}'", what, name));
  }
  return ok();
}

// What drivers cannot do without, in their words.
Result<> check_complete(const qmp::Schema& schema, const Json& tree) {
  const std::string driver = tree.value("driver", "");
  if (driver.empty()) return generic("Must specify either driver or file");
  TRY_OK(check_driver(driver));
  const char* const child = driver == "blkdebug" ? "image" : "file";
  const bool has_file = !takes_names(driver) || driver == "blkdebug";
  if (has_file && !tree.contains(child))
    return generic(fmt::format("A block device must be specified for \"{}\"", child));
  if (driver == "file" && !tree.contains("filename"))
    return generic("The 'file' block driver requires a file name");
  if (driver == "throttle" && !tree.contains("throttle-group"))
    return generic("Please specify a throttle group");
  for (const char* below : kChildren)
    if (const auto found = tree.find(below); found != tree.end() && found->is_object())
      TRY_OK(check_complete(schema, *found));
  return check_known(schema, tree);
}

// A tree of text becomes options that a driver can be given.  What drivers refuse in words of their
// own comes before what the schema refuses.
Result<Json> as_options(const Profile& profile, Json tree) {
  const qmp::Schema& schema = qmp::Schema::of(profile);
  TRY_OK(check_complete(schema, tree));
  TRY(tree, qmp::typed_keyval(schema, "BlockdevOptions", std::move(tree)));
  TRY_OK(schema.check_type("BlockdevOptions", tree));
  return tree;
}

Task<Result<std::string>> probe(block::Graph& graph, const Json& file) {
  constexpr std::array<std::byte, 4> kMagic = {std::byte{'Q'}, std::byte{'F'}, std::byte{'I'},
                                               std::byte{0xfb}};
  Json options = file;
  if (options.is_object()) {
    CO_TRY(options, as_options(graph.profile(), std::move(options)));
    options["read-only"] = true;
    options["force-share"] = true;
    options.erase("node-name");
  }
  CO_TRY(const block::NodePtr node, co_await open_child(graph, std::move(options), {}));
  std::array<std::byte, 4> head{};
  if (node->size() >= head.size()) CO_TRY_OK(co_await node->read(0, head));
  co_return std::string(head == kMagic ? "qcow2" : "raw");
}

// Adds the drivers that the tree leaves out below its root: a file's, or the format found there.
Task<Result<>> complete(block::Graph& graph, Json* tree) {
  for (const char* child : kChildren) {
    const auto found = tree->find(child);
    if (found == tree->end() || !found->is_object()) continue;
    CO_TRY_OK(co_await complete(graph, &*found));
    if (found->contains("driver")) continue;
    if (found->contains("filename")) {
      (*found)["driver"] = "file";
    } else if (found->contains("file")) {
      CO_TRY((*found)["driver"], co_await probe(graph, (*found)["file"]));
    } else {
      co_return generic("Must specify either driver or file");
    }
  }
  co_return ok();
}

// The name's part of the options; "driver" may be missing still.
Result<> take_name(const std::string& filename, Json& options, const Profile& profile) {
  if (filename.starts_with(kJson)) {
    TRY(const Json said, read_json(filename, profile));
    for (const auto& [key, value] : said.items())
      if (!options.contains(key)) options[key] = value;
    return ok();
  }
  const std::string driver = options.value("driver", "");
  if (takes_names(driver)) {
    TRY(const Json said, read_as(driver, filename, profile));
    options.update(said);
    return ok();
  }
  TRY(options["file"], read_name(filename, profile));
  return ok();
}

}  // namespace

Task<Result<Named>> options_of_name(block::Graph& graph, std::string filename, Json given,
                                    Json defaults) {
  const Profile& profile = graph.profile();
  Named result{std::move(given)};
  Json& options = result.options;
  CO_TRY_OK(take_name(filename, options, profile));
  for (const auto& [key, value] : defaults.items())
    if (!options.contains(key)) options[key] = value;
  CO_TRY_OK(co_await complete(graph, &options));
  if (!options.contains("driver")) {
    if (!options.contains("file")) co_return generic("Must specify either driver or file");
    CO_TRY(options["driver"], co_await probe(graph, options["file"]));
    result.probed = true;
  }
  CO_TRY(options, as_options(profile, std::move(options)));
  co_return result;
}

Result<Json> options_of_protocol(const std::string& filename, const Profile& profile) {
  TRY(Json options, read_name(filename, profile));
  if (!options.contains("driver")) options["driver"] = "file";
  return as_options(profile, std::move(options));
}

Task<Result<block::NodePtr>> open_named(block::Graph& graph, std::string filename, Json given,
                                        Json defaults, Inherited inherited) {
  CO_TRY(Named named, co_await options_of_name(graph, std::move(filename), std::move(given),
                                               std::move(defaults)));
  CO_TRY(const block::NodePtr node,
         co_await open_node(graph, std::move(named.options), false, inherited));
  node->probed = named.probed;
  co_return node;
}

}  // namespace sim::driver
