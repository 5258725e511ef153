// `understudy image check`.

#include "sim/qcow2/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/image/recognise.h"
#include "sim/image/source.h"
#include "sim/qcow2/bitmap.h"
#include "sim/qcow2/encryption.h"
#include "sim/tool/invocation.h"

namespace sim::tool {

namespace {

using qcow2::CheckResult;
using qcow2::Repair;

constexpr int kUnsupported = 63;  // qemu-img's exit code for formats without a check

// The file that is checked; null if its format has no check.
using Checked = std::shared_ptr<storage::Storage>;

// QEMU opens everything that an image refers to before it checks it.
Task<Result<>> open_the_rest(Invocation& invocation, const image::Source& source,
                             storage::Storage& file) {
  const image::Context& context = invocation.context();
  CO_TRY(const qcow2::Header header, co_await qcow2::read_header(file, qcow2::HeaderUse::check));
  // A directory that cannot be read is the check's to report; a table behind it is refused here.
  if (const auto bitmaps = co_await qcow2::read_bitmaps(file, header))
    CO_TRY_OK(co_await qcow2::check_bitmap_tables(file, header, *bitmaps, context.policy.lax));
  image::warn_of_bitmaps(context, header);
  const std::string path = image::absolute(context, source.filename);
  if (header.has_data_file()) {
    const std::string& name = source.data_file.empty() ? header.data_file : source.data_file;
    const std::string data_path = image::absolute(context, name);
    if (source.data_file.empty()) CO_TRY_OK(image::confine(context, path, data_path));
    if (auto opened = context.files.open(data_path, storage::Access::read_only); !opened)
      co_return os_error(opened.error().number, fmt::format("Could not open '{}'", name));
  }
  if (!header.has_data_file() && header.has_raw_data_file())
    co_return Error{ErrorClass::generic, "data-file-raw requires a data file", EINVAL};
  if (header.crypt_method != 0) {
    const auto secret = context.secrets.find(source.key_secret);
    if (source.key_secret.empty())
      co_return Error{ErrorClass::generic, "Parameter 'encrypt.key-secret' is required for cipher",
                      EINVAL};
    if (secret == context.secrets.end())
      co_return Error{ErrorClass::generic, fmt::format("No secret with id '{}'", source.key_secret),
                      EINVAL};
    CO_TRY_OK(co_await qcow2::unlock(file, header, secret->second));
  }
  if (header.backing_file.empty() || source.without_backing || source.backing) co_return ok();
  constexpr const char* kContext = "Could not open backing file: ";
  const std::string shown = image::compose_name(source.filename, header.backing_file);
  auto followed = image::follow(context, path, header.backing_file);
  if (!followed)
    co_return Error{ErrorClass::generic, kContext + followed.error().desc, followed.error().number};
  if (header.backing_format.empty() && !context.policy.probe && !context.policy.lax)
    co_return Error{ErrorClass::generic,
                    fmt::format("{}'{}' has no recorded format (--probe recognises it)", kContext,
                                header.backing_file),
                    EINVAL};
  const auto opened =
      co_await image::open_chain(context, {.filename = shown,
                                           .format = header.backing_format,
                                           .force_share = invocation.has("force-share"),
                                           .metadata_only = true});
  if (!opened)
    co_return Error{ErrorClass::generic, kContext + image::reason_of(opened.error(), shown),
                    opened.error().number};
  co_return ok();
}

Task<Result<Checked>> open_file(Invocation& invocation, const std::string& name, bool writable) {
  const image::Context& context = invocation.context();
  CO_TRY(const image::Source source,
         image::source_of(name, invocation.value("format"), invocation.has("image-opts")));
  auto file =
      context.files.open(image::absolute(context, source.filename),
                         writable ? storage::Access::read_write : storage::Access::read_only);
  if (!file)
    co_return Error{ErrorClass::generic,
                    fmt::format("Could not open '{}': {}", source.filename, file.error().desc),
                    file.error().number};
  std::string format = source.format;
  if (format.empty()) {
    std::vector<std::byte> start(std::min<std::uint64_t>(image::kRecogniseBytes, (*file)->size()));
    CO_TRY_OK(co_await (*file)->read(0, start));
    format = image::recognise(start);
    if (format == "raw" && writable) image::warn_of_raw(context, source.filename);
  }
  if (format != "file" && !image::is_format(format))
    co_return Error{ErrorClass::generic, fmt::format("Unknown driver '{}'", format), EINVAL};
  if (!invocation.has("force-share")) {
    const bool raw = format == "raw" || format == "file";
    CO_TRY_OK(
        image::claim_file(**file, source.filename,
                          {.writes = writable, .others_may_write = raw, .others_may_resize = raw}));
  }
  if (format != "qcow2") co_return Checked{};
  CO_TRY_OK(co_await open_the_rest(invocation, source, **file));
  co_return *std::move(file);
}

Json numbers(const std::string& name, const CheckResult& result) {
  Json json = {{"filename", name}, {"format", "qcow2"}, {"check-errors", result.check_errors}};
  const auto add = [&json](const char* key, std::uint64_t value) {
    if (value != 0) json[key] = value;
  };
  add("image-end-offset", result.image_end_offset);
  add("corruptions", result.corruptions);
  add("leaks", result.leaks);
  add("corruptions-fixed", result.corruptions_fixed);
  add("leaks-fixed", result.leaks_fixed);
  add("total-clusters", result.total_clusters);
  add("allocated-clusters", result.allocated_clusters);
  add("fragmented-clusters", result.fragmented_clusters);
  add("compressed-clusters", result.compressed_clusters);
  return json;
}

// `part` of `whole` in per cent with two decimals, rounded as printf("%.2f") does up to ties.
std::string per_cent(std::uint64_t part, std::uint64_t whole) {
  if (part > UINT64_MAX / 20000) return "100.00";
  std::uint64_t hundredths = part * 10000 / whole;
  const std::uint64_t over = 2 * (part * 10000 % whole);
  if (over > whole || (over == whole && hundredths % 2 != 0)) ++hundredths;  // as printf rounds
  return fmt::format("{}.{:02}", hundredths / 100, hundredths % 100);
}

std::string report(const CheckResult& result) {
  std::string text;
  if (result.corruptions == 0 && result.leaks == 0 && result.check_errors == 0)
    text = "No errors were found on the image.\n";
  if (result.corruptions != 0)
    text += fmt::format(
        "\n{} errors were found on the image.\n"
        "Data may be corrupted, or further writes to the image may corrupt it.\n",
        result.corruptions);
  if (result.leaks != 0)
    text += fmt::format(
        "\n{} leaked clusters were found on the image.\n"
        "This means waste of disk space, but no harm to data.\n",
        result.leaks);
  if (result.check_errors != 0)
    text +=
        fmt::format("\n{} internal errors have occurred during the check.\n", result.check_errors);
  if (result.total_clusters != 0 && result.allocated_clusters != 0)
    text += fmt::format("{}/{} = {}% allocated, {}% fragmented, {}% compressed clusters\n",
                        result.allocated_clusters, result.total_clusters,
                        per_cent(result.allocated_clusters, result.total_clusters),
                        per_cent(result.fragmented_clusters, result.allocated_clusters),
                        per_cent(result.compressed_clusters, result.allocated_clusters));
  if (result.image_end_offset != 0)
    text += fmt::format("Image end offset: {}\n", result.image_end_offset);
  return text;
}

// Findings are lines of their own on the error output, as qemu-img's are.
Task<Result<CheckResult>> check_once(Invocation& invocation, const Checked& file, Repair repair) {
  const auto say = [&invocation](std::string_view line) {
    invocation.surroundings().err(fmt::format("{}\n", line));
  };
  co_return co_await qcow2::check(file, {.repair = repair, .finding = say});
}

Task<int> check_file(Invocation& invocation, const Checked& file, Repair repair, Output output) {
  const bool quiet = invocation.quiet();
  auto result = co_await check_once(invocation, file, repair);
  if (result && result->corruptions_fixed + result->leaks_fixed != 0) {
    const CheckResult first = *result;
    if (output == Output::human && !quiet)
      invocation.print(
          fmt::format("The following inconsistencies were found and repaired:\n\n"
                      "    {} leaked clusters\n"
                      "    {} corruptions\n\n"
                      "Double checking the fixed image now...\n",
                      first.leaks_fixed, first.corruptions_fixed));
    result = co_await check_once(invocation, file, Repair::none);
    if (result) {
      result->leaks_fixed = first.leaks_fixed;
      result->corruptions_fixed = first.corruptions_fixed;
    }
  }
  if (!result) co_return invocation.fail("Check failed: " + os_error(result.error().number).desc);
  if (!quiet)
    invocation.print(output == Output::human
                         ? report(*result)
                         : json_text(numbers(invocation.names().front(), *result)) + "\n");
  if (result->check_errors != 0) co_return invocation.fail("Check failed");
  if (result->corruptions != 0) co_return 2;
  co_return result->leaks != 0 ? 3 : 0;
}

bool is_cache_mode(const std::string& name) {
  constexpr std::array<std::string_view, 6> kModes = {"none",         "off",        "writeback",
                                                      "writethrough", "directsync", "unsafe"};
  return std::ranges::find(kModes, name) != kModes.end();
}

}  // namespace

Task<int> check_command(Invocation& invocation) {
  if (const auto code = invocation.parse({{'f', "format", true},
                                          {'r', "repair", true},
                                          {'\0', "output", true},
                                          {'T', "", true},
                                          {'q', "", false}}))
    co_return *code;
  Repair repair = Repair::none;
  if (invocation.has("r")) {
    const std::string wanted = invocation.value("r");
    if (wanted != "leaks" && wanted != "all")
      co_return invocation.bad_usage(
          fmt::format("Unknown option value for -r (expecting 'leaks' or 'all'): {}", wanted));
    repair = wanted == "all" ? Repair::all : Repair::leaks;
  }
  const auto output = output_format(invocation);
  if (!output) co_return invocation.fail(output.error().desc);
  if (invocation.names().size() != 1)
    co_return invocation.bad_usage("Expecting one image file name");
  if (invocation.has("T") && !is_cache_mode(invocation.value("T")))
    co_return invocation.fail("Invalid source cache option: " + invocation.value("T"));
  const std::string& name = invocation.names().front();
  if (repair != Repair::none && invocation.has("U"))
    co_return invocation.fail(fmt::format(
        "Could not open '{}': force-share=on can only be used with read-only images", name));
  const auto file = co_await open_file(invocation, name, repair != Repair::none);
  if (!file)
    co_return invocation.fail(fmt::format("Could not open '{}': {}", name, file.error().desc));
  if (*file == nullptr)
    co_return invocation.fail("This image format does not support checks", kUnsupported);
  co_return co_await check_file(invocation, *file, repair, *output);
}

}  // namespace sim::tool
