#include "sim/image/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "sim/base/qdict_text.h"
#include "sim/base/text.h"
#include "sim/image/open.h"
#include "sim/image/options.h"
#include "sim/image/recognise.h"

namespace sim::image {

namespace {

constexpr int kDepthMax = 100;  // of JSON
constexpr int kSourcesMax = 8;  // of drivers on top of each other, backing files among them

// What is accepted and has no effect here: caches, locks, permissions.
constexpr std::array<std::string_view, 18> kWithoutEffect = {"driver",
                                                             "file",
                                                             "node-name",
                                                             "read-only",
                                                             "auto-read-only",
                                                             "force-share",
                                                             "discard",
                                                             "detect-zeroes",
                                                             "cache",
                                                             "overlap-check",
                                                             "cache-size",
                                                             "l2-cache-size",
                                                             "l2-cache-entry-size",
                                                             "refcount-cache-size",
                                                             "cache-clean-interval",
                                                             "pass-discard-request",
                                                             "pass-discard-snapshot",
                                                             "pass-discard-other"};

Error refusal(std::string text) { return {ErrorClass::generic, std::move(text), EINVAL}; }

Result<std::string> text_in(const Json& options, const char* key) {
  const auto found = options.find(key);
  if (found == options.end()) return std::string();
  if (!found->is_string())
    return refusal(fmt::format("Invalid parameter type for '{}', expected: string", key));
  return found->get<std::string>();
}

Result<Json> parse_json(std::string_view text) {
  bool deep = false;
  const auto bounded = [&](int depth, Json::parse_event_t, Json&) {
    deep = deep || depth > kDepthMax;
    return !deep;
  };
  const Json options = Json::parse(text, bounded, false);
  if (deep || !options.is_object()) return refusal("Could not parse the JSON options");
  return qdict_nest(options);
}

// The name below `file`: {"driver": "file", "filename": NAME}.
Result<std::string> file_in(const Json& options, const char* key) {
  const auto file = options.find(key);
  if (file == options.end())
    return refusal(fmt::format("A block device must be specified for \"{}\"", key));
  if (file->is_string())
    return refusal(
        fmt::format("Cannot find device='{0}' nor node-name='{0}'", file->get<std::string>()));
  if (!file->is_object())
    return refusal(fmt::format("Invalid parameter type for '{}', expected: BlockdevRef", key));
  TRY(const std::string driver, text_in(*file, "driver"));
  if (!driver.empty() && driver != "file")
    return refusal(fmt::format("driver '{}' is not in this version", driver));
  TRY(std::string name, text_in(*file, "filename"));
  if (name.empty()) return refusal("The 'file' block driver requires a file name");
  return name;
}

Result<Source> from_options(const Json& options, int depth);

Result<> take_backing(const Json& backing, Source& source, int depth) {
  if (backing.is_null() || (backing.is_string() && backing.get<std::string>().empty())) {
    source.without_backing = true;
    return ok();
  }
  if (!backing.is_object())
    return refusal("Cannot find the node that 'backing' names: give its driver and file");
  TRY(Source below, from_options(backing, depth + 1));
  source.backing = std::make_shared<const Source>(std::move(below));
  return ok();
}

Result<> take_qcow2_options(const Json& options, Source& source, int depth) {
  for (const auto& [key, value] : options.items()) {
    if (key == "backing") {
      TRY_OK(take_backing(value, source, depth));
    } else if (key == "data-file") {
      TRY(source.data_file, file_in(options, "data-file"));
    } else if (key == "encrypt" && value.is_object()) {
      TRY(source.key_secret, text_in(value, "key-secret"));
    } else if (key != "lazy-refcounts" &&
               std::ranges::find(kWithoutEffect, key) == kWithoutEffect.end()) {
      return refusal(fmt::format("Block format 'qcow2' does not support the option '{}'", key));
    }
  }
  return ok();
}

bool is_read_only(const Json& options) {
  const auto found = options.find("read-only");
  return found != options.end() && (*found == Json(true) || *found == Json("on"));
}

Result<Source> from_options(const Json& options, int depth) {
  if (depth == kSourcesMax) return refusal("too many drivers on top of each other");
  Source source;
  source.read_only = is_read_only(options);
  TRY(source.format, text_in(options, "driver"));
  if (source.format == "file") {
    TRY(source.filename, text_in(options, "filename"));
    if (source.filename.empty()) return refusal("The 'file' block driver requires a file name");
    return source;
  }
  if (source.format.empty() && !options.contains("file"))
    return refusal("Must specify either driver or file");
  if (!source.format.empty() && !is_format(source.format))
    return refusal(fmt::format("Unknown driver '{}'", source.format));
  // A raw node on top of an image is that image.
  const auto file = options.find("file");
  if (source.format == "raw" && file != options.end() && file->is_object() &&
      file->contains("file"))
    return from_options(*file, depth + 1);
  TRY(source.filename, file_in(options, "file"));
  if (source.format == "raw") {
    for (const auto& [key, value] : options.items())
      if (std::ranges::find(kWithoutEffect, key) == kWithoutEffect.end())
        return refusal(fmt::format("Block format 'raw' does not support the option '{}'", key));
    return source;
  }
  TRY_OK(take_qcow2_options(options, source, depth));
  return source;
}

}  // namespace

Result<Source> source_of(const std::string& filename, const std::string& format, bool image_opts) {
  if (image_opts) {
    TRY(const Json options, parse_image_opts(filename));
    return from_options(options, 0);
  }
  if (filename.starts_with("json:")) {
    TRY(Json options, parse_json(std::string_view(filename).substr(5)));
    if (!format.empty() && !options.contains("driver")) options["driver"] = format;
    return from_options(options, 0);
  }
  std::string name = filename;
  if (name.starts_with("file:")) {
    name.erase(0, 5);
  } else if (has_protocol(name)) {
    return refusal(fmt::format("Unknown protocol '{}'", name.substr(0, name.find(':'))));
  }
  if (name.empty()) return refusal("The 'file' block driver requires a file name");
  return Source{.filename = std::move(name), .format = format};
}

}  // namespace sim::image
