// `understudy image measure`.

#include "sim/image/measure.h"

#include <fmt/format.h>

#include "sim/image/create_options.h"
#include "sim/image/recognise.h"
#include "sim/tool/invocation.h"

namespace sim::tool {

namespace {

void print(const Invocation& invocation, Output output, const image::Measure& measure) {
  if (output == Output::json) {
    Json json = {{"required", measure.required}, {"fully-allocated", measure.fully_allocated}};
    if (measure.bitmaps) json["bitmaps"] = *measure.bitmaps;
    invocation.print(json_text(json) + "\n");
    return;
  }
  invocation.print(fmt::format("required size: {}\nfully allocated size: {}\n", measure.required,
                               measure.fully_allocated));
  if (measure.bitmaps) invocation.print(fmt::format("bitmaps size: {}\n", *measure.bitmaps));
}

// What the command line may not say at once.
const char* contradiction(const Invocation& invocation) {
  const bool sized = invocation.has("size");
  if (invocation.names().size() > 1) return "At most one filename argument is allowed.";
  if (invocation.names().size() == 1 && sized)
    return "--size N cannot be used together with a filename.";
  if (invocation.names().empty() &&
      (invocation.has("image-opts") || invocation.has("f") || invocation.has("l")))
    return "--image-opts, -f, and -l require a filename argument.";
  if (invocation.names().empty() && !sized)
    return "Either --size N or one filename must be specified.";
  return nullptr;
}

Result<image::OptionPairs> read_pairs(const Invocation& invocation) {
  image::OptionPairs pairs;
  for (const std::string& text : invocation.values("o")) {
    TRY(const auto more, parse_key_values(text));
    pairs.insert(pairs.end(), more.begin(), more.end());
  }
  return pairs;
}

// The id or name in -l; "snapshot.id=ID" and "snapshot.name=NAME", too.
Result<std::string> read_snapshot(const std::string& text) {
  if (!text.starts_with("snapshot.")) return text;
  TRY(const auto pairs, parse_key_values(text));
  for (const auto& [key, value] : pairs)
    if (key == "snapshot.id" || key == "snapshot.name") return value;
  return Error{ErrorClass::generic, fmt::format("Failed in parsing snapshot param '{}'", text),
               EINVAL};
}

}  // namespace

Task<int> measure_command(Invocation& invocation) {
  if (const auto code = invocation.parse({{'f', "", true},
                                          {'O', "", true},
                                          {'o', "", true},
                                          {'l', "", true},
                                          {'\0', "size", true},
                                          {'\0', "output", true}}))
    co_return *code;
  const auto output = output_format(invocation);
  if (!output) co_return invocation.fail(output.error().desc);
  std::uint64_t size = 0;
  if (invocation.has("size")) {
    const auto given = parse_number("image size", invocation.value("size"));
    if (!given) co_return invocation.fail(given.error().desc);
    size = *given;
  }
  if (const char* text = contradiction(invocation)) co_return invocation.fail(text);
  const auto snapshot = read_snapshot(invocation.value("l"));
  if (!snapshot) co_return invocation.fail(snapshot.error().desc);
  std::unique_ptr<image::Layer> source;
  if (!invocation.names().empty()) {
    image::OpenRequest request = invocation.request(invocation.names().front(), false);
    request.snapshot = *snapshot;
    auto opened = co_await image::open_chain(invocation.context(), std::move(request));
    if (!opened) co_return invocation.fail(opened.error().desc);
    source = *std::move(opened);
  }
  const std::string format = invocation.value("O", "raw");
  if (image::is_other_format(format))
    co_return invocation.fail(
        fmt::format("Block driver '{}' does not support size measurement", format));
  if (format != "raw" && format != "qcow2")
    co_return invocation.fail(fmt::format("Unknown file format '{}'", format));
  const auto pairs = read_pairs(invocation);
  if (!pairs) co_return invocation.fail(pairs.error().desc);
  const auto options = image::read_create_options(invocation.context(), format, *pairs,
                                                  {.size = size}, invocation.surroundings().random);
  if (!options) co_return invocation.fail(options.error().desc);
  if (format == "raw") {
    print(invocation, *output, image::measure_raw(source ? source->size() : options->size));
    co_return 0;
  }
  const auto measure = co_await image::measure_qcow2(*options, source.get());
  if (!measure) co_return invocation.fail(measure.error().desc);
  print(invocation, *output, *measure);
  co_return 0;
}

}  // namespace sim::tool
