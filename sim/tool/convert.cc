// `understudy image convert`.

#include "sim/image/convert.h"

#include <fmt/format.h>

#include "sim/base/size.h"
#include "sim/image/create_options.h"
#include "sim/tool/cache.h"
#include "sim/tool/invocation.h"
#include "sim/tool/progress.h"
#include "sim/tool/tool.h"

namespace sim::tool {

namespace {

const std::vector<Option> kOptions = {
    {'f', "", true},
    {'O', "", true},
    {'B', "", true},
    {'F', "", true},
    {'c', "", false},
    {'C', "", false},
    {'o', "", true},
    {'l', "", true},
    {'S', "", true},
    {'p', "", false},
    {'q', "", false},
    {'n', "", false},
    {'t', "", true},
    {'T', "", true},
    {'m', "", true},
    {'W', "", false},
    {'r', "", true},
    {'\0', "target-image-opts", false},
    {'\0', "target-is-zero", false},
    {'\0', "salvage", false},
    {'\0', "bitmaps", false},
    {'\0', "skip-broken-bitmaps", false},
};

Error refuse(std::string text) { return {ErrorClass::generic, std::move(text), EINVAL}; }

Result<std::uint64_t> sparse_bytes(const Invocation& invocation) {
  if (!invocation.has("S")) return std::uint64_t{4096};
  constexpr std::uint64_t kMost = 16_MiB;
  const auto bytes = parse_size(invocation.value("S"));
  if (bytes && *bytes % 512 == 0 && *bytes <= kMost) return *bytes;
  return refuse(
      "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to "
      "16777216. Select 0 to disable sparse detection (fully allocates output).");
}

// What says how the work is done, which is always the same here.
Result<> check_manner(const Invocation& invocation) {
  if (invocation.has("m")) {
    const auto count = parse_size(invocation.value("m"));
    if (!count || *count < 1 || *count > 16)
      return refuse(
          "Invalid number of coroutines. Allowed number of coroutines is between 1 and 16");
  }
  if (invocation.has("r")) TRY_OK(parse_number("rate limit", invocation.value("r")));
  if (invocation.has("C") && invocation.has("S"))
    return refuse("Cannot enable copy offloading when -S is used");
  if (invocation.has("C") && invocation.has("c"))
    return refuse("Cannot enable copy offloading when -c is used");
  if (invocation.has("C") && invocation.has("salvage"))
    return refuse("Cannot use copy offloading in salvaging mode");
  return ok();
}

Result<> check_combination(const Invocation& invocation) {
  if (invocation.has("target-image-opts") && !invocation.has("n"))
    return refuse("--target-image-opts requires use of -n flag");
  if (invocation.has("target-image-opts") && invocation.has("O"))
    return refuse("-O format is not valid with --target-image-opts");
  if (invocation.has("target-is-zero") && !invocation.has("n"))
    return refuse("--target-is-zero requires use of -n flag");
  if (invocation.has("target-is-zero") && invocation.has("B"))
    return refuse("Cannot use --target-is-zero when the destination image has a backing file");
  if (invocation.has("skip-broken-bitmaps") && !invocation.has("bitmaps"))
    return refuse("Use of --skip-broken-bitmaps requires --bitmaps");
  if (invocation.has("n") && invocation.has("o"))
    return refuse("-o has no effect when skipping image creation");
  const auto& names = invocation.names();
  if (names.size() < 2) return refuse("Must specify image file name");
  if (invocation.has("l") && names.size() > 2)
    return refuse("No support for concatenating multiple snapshot");
  return ok();
}

// -l's "snapshot.id=1", "snapshot.name=x", or either without a key.
Result<std::string> snapshot_name(const Invocation& invocation) {
  std::string text = invocation.value("l");
  if (!text.starts_with("snapshot.")) return text;
  TRY(const auto pairs, parse_key_values(text));
  for (const auto& [key, value] : pairs)
    if (key == "snapshot.id" || key == "snapshot.name") return value;
  return refuse(fmt::format("Failed in parsing snapshot param '{}'", text));
}

// -o, -B and -F: what a new destination is to be like.
Result<> read_creation(const Invocation& invocation, image::ConvertRequest& request) {
  image::OptionPairs given;
  for (const std::string& text : invocation.values("o")) {
    TRY(const auto pairs, parse_key_values(text));
    given.insert(given.end(), pairs.begin(), pairs.end());
  }
  qcow2::CreateOptions defaults{.backing_file = invocation.value("B"),
                                .backing_format = invocation.value("F")};
  TRY(request.create,
      image::read_create_options(invocation.context(), request.format, given, std::move(defaults),
                                 invocation.surroundings().random));
  request.over_backing = invocation.has("B") || !request.create.backing_file.empty();
  if (!request.create.backing_file.empty() && request.create.backing_format.empty())
    return refuse("Use of backing file requires explicit backing format");
  if (request.compressed && request.create.preallocation != qcow2::Preallocation::off)
    return refuse("Compression and preallocation not supported at the same time");
  return ok();
}

Result<image::ConvertRequest> request_of(Invocation& invocation) {
  TRY_OK(check_combination(invocation));
  TRY_OK(check_manner(invocation));
  image::ConvertRequest request;
  TRY(request.sparse, sparse_bytes(invocation));
  TRY(const std::string snapshot, snapshot_name(invocation));
  const auto& names = invocation.names();
  for (std::size_t i = 0; i + 1 < names.size(); ++i) {
    request.sources.push_back(invocation.request(names[i], false));
    request.sources.back().snapshot = snapshot;
  }
  request.format = invocation.value("O", "raw");
  if (request.format != "raw" && request.format != "qcow2")
    return refuse(fmt::format("Unknown file format '{}'", request.format));
  request.destination.filename = names.back();
  request.destination.image_opts = invocation.has("target-image-opts");
  if (!request.destination.image_opts) request.destination.format = request.format;
  request.existing = invocation.has("n");
  request.zero_already = invocation.has("target-is-zero");
  request.compressed = invocation.has("c");
  request.salvage = invocation.has("salvage");
  request.bitmaps = invocation.has("bitmaps");
  request.skip_broken_bitmaps = invocation.has("skip-broken-bitmaps");
  TRY_OK(read_creation(invocation, request));
  return request;
}

}  // namespace

Task<int> convert_command(Invocation& invocation) {
  if (const auto code = invocation.parse(kOptions)) co_return *code;
  for (const std::string& text : invocation.values("o"))
    if (image::asks_for_help(text)) {
      invocation.print(image::create_options_help(invocation.value("O", "raw")));
      co_return 0;
    }
  auto request = request_of(invocation);
  if (!request) co_return invocation.fail(request.error().desc);
  const std::string mode = invocation.value("t", "unsafe");
  if (const auto code = check_cache_mode(invocation, "cache", mode)) co_return *code;
  if (const auto code =
          check_cache_mode(invocation, "source cache", invocation.value("T", "writeback")))
    co_return *code;
  request->warning = [&](std::string_view text) { invocation.complain(text); };
  const Cached cached(invocation, mode);
  Progress progress(invocation);
  request->progress = progress.observer();
  const auto done = co_await image::convert(cached.context(), *std::move(request));
  if (!done) co_return invocation.fail(done.error().desc);
  progress.finish();
  co_return 0;
}

}  // namespace sim::tool
