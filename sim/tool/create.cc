// `understudy image create`.

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/size.h"
#include "sim/base/text.h"
#include "sim/image/create_options.h"
#include "sim/image/layers.h"
#include "sim/image/options.h"
#include "sim/image/output.h"
#include "sim/image/recognise.h"
#include "sim/qcow2/create.h"
#include "sim/qcow2/format.h"
#include "sim/tool/invocation.h"

namespace sim::tool {

namespace {

using image::OptionPairs;

Error refuse(std::string text, int number = EINVAL) {
  return {ErrorClass::generic, std::move(text), number};
}

// The options of -o, in the order in which "Formatting …" lists them, with QEMU's defaults (empty:
// not listed unless it is given).
struct Known {
  enum class Kind : unsigned char { text, number, size, truth };
  std::string_view name;
  Kind kind;
  std::string_view standard;
  bool raw;  // the format raw has it, too
};
constexpr std::array kOptions = {
    Known{"encryption", Known::Kind::truth, "", false},
    Known{"encrypt.format", Known::Kind::text, "", false},
    Known{"encrypt.key-secret", Known::Kind::text, "", false},
    Known{"encrypt.cipher-alg", Known::Kind::text, "", false},
    Known{"encrypt.cipher-mode", Known::Kind::text, "", false},
    Known{"encrypt.ivgen-alg", Known::Kind::text, "", false},
    Known{"encrypt.ivgen-hash-alg", Known::Kind::text, "", false},
    Known{"encrypt.hash-alg", Known::Kind::text, "", false},
    Known{"encrypt.iter-time", Known::Kind::number, "", false},
    Known{"cluster_size", Known::Kind::size, "65536", false},
    Known{"extended_l2", Known::Kind::truth, "off", false},
    Known{"preallocation", Known::Kind::text, "", false},
    Known{"compression_type", Known::Kind::text, "zlib", false},
    Known{"size", Known::Kind::size, "", true},
    Known{"compat", Known::Kind::text, "", false},
    Known{"backing_file", Known::Kind::text, "", false},
    Known{"backing_fmt", Known::Kind::text, "", false},
    Known{"data_file", Known::Kind::text, "", false},
    Known{"data_file_raw", Known::Kind::truth, "", false},
    Known{"lazy_refcounts", Known::Kind::truth, "off", false},
    Known{"refcount_bits", Known::Kind::number, "16", false},
    Known{"nocow", Known::Kind::truth, "", true},
    Known{"preallocation", Known::Kind::text, "", true},
    Known{"extent_size_hint", Known::Kind::size, "", true},
};

bool belongs(const Known& option, const std::string& format) {
  if (format == "raw") return option.raw;
  return !(option.raw && option.name == "preallocation");
}

const std::string* last_of(const OptionPairs& given, std::string_view name) {
  const auto found = std::find_if(given.rbegin(), given.rend(),
                                  [name](const auto& pair) { return pair.first == name; });
  return found == given.rend() ? nullptr : &found->second;
}

// The value as QEMU shows it; refused if it is not of its kind.
Result<std::string> shown_value(const Known& option, const std::string& value) {
  switch (option.kind) {
    case Known::Kind::text:
      return replace_all(value, ",", ",,");
    case Known::Kind::truth:
      if (const auto on = image::switch_of(option.name, value); !on)
        return on.error();
      else
        return *on ? "on" : "off";
    case Known::Kind::number:
      if (!value.empty() && value.size() < 19 &&
          std::ranges::all_of(value, [](char c) { return c >= '0' && c <= '9'; }))
        return value;
      return refuse(fmt::format("Parameter '{}' expects a number", option.name));
    case Known::Kind::size: {
      const auto size = parse_qemu_size(value);
      if (size) return fmt::format("{}", *size);
      return refuse(
          fmt::format("Parameter '{}' expects a non-negative number below 2^64", option.name));
    }
  }
  return value;
}

// The options of "Formatting …"; refused, as QEMU reads them, if one is unknown or not of its kind.
Result<std::string> describe(const std::string& format, const OptionPairs& given) {
  for (const auto& [name, value] : given) {
    const auto option = std::ranges::find_if(
        kOptions, [&](const Known& known) { return known.name == name && belongs(known, format); });
    if (option == kOptions.end()) return refuse(fmt::format("Invalid parameter '{}'", name));
    if (auto shown = shown_value(*option, value); !shown) return std::move(shown).error();
  }
  std::string text;
  for (const Known& option : kOptions) {
    if (!belongs(option, format)) continue;
    const std::string* value = last_of(given, option.name);
    if (value == nullptr && option.standard.empty()) continue;
    TRY(const std::string shown,
        shown_value(option, value != nullptr ? *value : std::string(option.standard)));
    text += fmt::format(" {}={}", option.name, shown);
  }
  return text;
}

Result<std::uint64_t> image_size(const std::string& text) {
  const auto size = parse_qemu_size(text);
  if (size && *size <= std::uint64_t{INT64_MAX}) return *size;
  if (size || size.error().number == ERANGE)
    return refuse(
        fmt::format("Invalid image size specified. Must be between 0 and {}.", INT64_MAX));
  return refuse(
      "Invalid image size specified. You may use k, M, G, T, P or E suffixes for kilobytes, "
      "megabytes, gigabytes, terabytes, petabytes and exabytes.");
}

// -o, -b, -F and the size, together.
Result<OptionPairs> collect(const Invocation& invocation, const std::string& format) {
  OptionPairs given;
  for (const std::string& text : invocation.values("o")) {
    const auto pairs = parse_key_values(text);
    if (!pairs) return refuse(fmt::format("Invalid option list: {}", text));
    given.insert(given.end(), pairs->begin(), pairs->end());
  }
  if (invocation.names().size() > 1) {
    if (last_of(given, "size") != nullptr)
      return refuse("The image size must be specified only once");
    TRY(const std::uint64_t size, image_size(invocation.names()[1]));
    given.emplace_back("size", fmt::format("{}", size));
  }
  if (invocation.has("b")) {
    if (format == "raw") return refuse("Backing file not supported for file format 'raw'", ENOTSUP);
    given.emplace_back("backing_file", invocation.value("b"));
  }
  if (invocation.has("F")) {
    if (format == "raw")
      return refuse("Backing format not supported for file format 'raw'", ENOTSUP);
    given.emplace_back("backing_fmt", invocation.value("F"));
  }
  return given;
}

// What QEMU demands of a backing file; the size is its, if none is given.
Task<Result<>> consult_backing(const Invocation& invocation, const std::string& filename,
                               OptionPairs& given) {
  const std::string* backing = last_of(given, "backing_file");
  if (backing == nullptr) co_return ok();
  if (backing->empty()) co_return refuse("Expected backing file name, got empty string");
  if (*backing == filename)
    co_return refuse("Error: Trying to create an image with the same filename as the backing file");
  const std::string* format = last_of(given, "backing_fmt");
  if (format == nullptr) co_return refuse("Backing file specified without backing format");
  if (!image::is_format(*format))
    co_return refuse(fmt::format("Parameter 'backing-fmt' does not accept value '{}'", *format));
  if (invocation.has("u")) co_return ok();
  const image::Context& context = invocation.context();
  CO_TRY_OK(image::follow(context, image::absolute(context, filename), *backing));
  const std::string name = image::compose_name(filename, *backing);
  auto layer = co_await image::open_chain(
      context, image::OpenRequest{.filename = name, .format = *format, .metadata_only = true});
  if (!layer) co_return refuse(image::reason_of(layer.error(), name), layer.error().number);
  if (last_of(given, "size") == nullptr)
    given.emplace_back("size", fmt::format("{}", (*layer)->size()));
  co_return co_await (*layer)->close();
}

Result<image::Output> begin(const image::Context& context, const std::string& name) {
  auto output = image::Output::begin(context.files,
                                     image::absolute(context, image::without_protocol(name)), name);
  if (output || output.error().number == EAGAIN) return output;
  return os_error(output.error().number, fmt::format("Could not create '{}'", name));
}

// Makes the file, and its external data file, whole or not at all.
Task<Result<>> make(const image::Context& context, const std::string& filename,
                    const std::string& format, const qcow2::CreateOptions& options) {
  if (!options.data_file.empty() &&
      image::absolute(context, options.data_file) == image::absolute(context, filename))
    co_return refuse("The data file is the image itself");
  if (!options.data_file.empty())
    CO_TRY_OK(image::confine(context, image::absolute(context, image::without_protocol(filename)),
                             image::absolute(context, options.data_file)));
  CO_TRY(image::Output file, begin(context, filename));
  if (format == "raw") {
    image::Layer::Place place;
    place.path = place.name = place.shown_name = file.path();
    place.file = file.file();
    const auto layer = image::make_raw_layer(std::move(place), true);
    CO_TRY_OK(co_await layer->resize(align_up(options.size, qcow2::format::kSector),
                                     options.preallocation));
    CO_TRY_OK(co_await layer->close());
    co_return file.keep();
  }
  std::optional<image::Output> data_file;
  if (!options.data_file.empty()) {
    CO_TRY(image::Output made, begin(context, options.data_file));
    data_file.emplace(std::move(made));
  }
  auto created =
      co_await qcow2::create(file.file(), options, data_file ? data_file->file() : nullptr);
  if (!created && created.error().number == EFBIG)
    co_return refuse(
        "The image size is too large for file format 'qcow2' (try using a larger cluster size)",
        EFBIG);
  CO_TRY_OK(created);
  if (data_file) CO_TRY_OK(data_file->keep());
  co_return file.keep();
}

// What -o help shows without a file's name: what belongs to the protocol is not known then.
std::string help_without_name(const std::string& format) {
  const std::string all = image::create_options_help(format);
  std::string text = fmt::format("Supported {} options:\n", format);
  for (std::size_t at = all.find('\n') + 1; at < all.size();) {
    const std::size_t end = all.find('\n', at) + 1;
    const std::string line = all.substr(at, end - at);
    at = end;
    const bool of_protocol = line.starts_with("  nocow=") ||
                             line.starts_with("  extent_size_hint=") ||
                             (format == "raw" && line.starts_with("  preallocation="));
    if (!of_protocol) text += line;
  }
  return text +
         "\nThe protocol level may support further options.\nSpecify the target filename to "
         "include those options.\n";
}

Task<Result<>> create_file(Invocation& invocation, const std::string& filename,
                           const std::string& format, OptionPairs given) {
  CO_TRY_OK(describe(format, given));
  CO_TRY_OK(co_await consult_backing(invocation, filename, given));
  if (last_of(given, "size") == nullptr) co_return refuse("Image creation needs a size parameter");
  CO_TRY(const std::string described, describe(format, given));
  if (!invocation.quiet())
    invocation.print(fmt::format("Formatting '{}', fmt={}{}\n", filename, format, described));
  if (last_of(given, "encryption") != nullptr && last_of(given, "encrypt.format") != nullptr)
    co_return refuse("'encrypt.format' and its alias 'encryption' can't be used at the same time");
  CO_TRY(const qcow2::CreateOptions options,
         image::read_create_options(invocation.context(), format, given, {},
                                    invocation.surroundings().random));
  co_return co_await make(invocation.context(), filename, format, options);
}

}  // namespace

Task<int> create_command(Invocation& invocation) {
  if (const auto code = invocation.parse({{'f', "format", true},
                                          {'o', "options", true},
                                          {'b', "backing", true},
                                          {'F', "backing-format", true},
                                          {'u', "backing-unsafe", false},
                                          {'q', "quiet", false}}))
    co_return *code;
  const std::string format = invocation.value("f", "raw");
  if (std::ranges::any_of(invocation.values("o"), image::asks_for_help)) {
    if (format != "raw" && format != "qcow2")
      co_return invocation.fail(fmt::format("Unknown file format '{}'", format));
    invocation.print(invocation.names().empty() ? help_without_name(format)
                                                : image::create_options_help(format));
    co_return 0;
  }
  if (invocation.names().empty()) co_return invocation.bad_usage("Expecting image file name");
  if (invocation.names().size() > 2)
    co_return invocation.bad_usage(fmt::format("Unexpected argument: {}", invocation.names()[2]));
  const std::string filename = invocation.names().front();
  const auto said = [&](const Error& error) {
    return invocation.fail(fmt::format("{}: {}", filename, error.desc));
  };
  if (format != "raw" && format != "qcow2")
    co_return said(refuse(fmt::format("Unknown file format '{}'", format)));
  if (has_protocol(image::without_protocol(filename)))
    co_return said(
        refuse(fmt::format("Unknown protocol '{}'", filename.substr(0, filename.find(':')))));
  if (invocation.names().size() > 1) {
    if (auto size = image_size(invocation.names()[1]); !size)
      co_return invocation.fail(size.error().desc);
  }
  auto given = collect(invocation, format);
  if (!given) co_return said(given.error());
  const auto created = co_await create_file(invocation, filename, format, *std::move(given));
  if (!created) co_return said(created.error());
  co_return 0;
}

}  // namespace sim::tool
