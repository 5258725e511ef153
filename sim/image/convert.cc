#include "sim/image/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <ranges>
#include <utility>

#include "sim/image/copy.h"
#include "sim/image/new_image.h"
#include "sim/image/output.h"
#include "sim/qcow2/format.h"

namespace sim::image {

namespace {

using Layers = std::vector<std::unique_ptr<Layer>>;

// Errors of making the destination, as qemu-img puts them.
Error making(const ConvertRequest& request, const Error& error) {
  return {error.error_class,
          fmt::format("{}: error while converting {}: {}", request.destination.filename,
                      request.format, error.desc),
          error.number};
}

Result<> check_bitmaps(const ConvertRequest& request, const Layers& sources) {
  const auto refuse = [](const char* text) { return Error{ErrorClass::generic, text, ENOTSUP}; };
  if (!request.bitmaps) return ok();
  if (sources.size() > 1) return refuse("Copying bitmaps only possible with single source");
  qcow2::Image* source = sources.front()->qcow2();
  if (source == nullptr) return refuse("Source lacks bitmap support");
  for (const qcow2::BitmapInfo& bitmap : source->bitmaps()) {
    if (!bitmap.in_use || request.skip_broken_bitmaps) continue;
    return Error{ErrorClass::generic,
                 fmt::format("Cannot copy inconsistent bitmap '{}'\nTry --skip-broken-bitmaps, or "
                             "use 'qemu-img bitmap --remove'",
                             bitmap.name),
                 EINVAL};
  }
  return ok();
}

Task<Result<>> copy_bitmap(qcow2::Image& source, qcow2::Image& target,
                           const qcow2::BitmapInfo& bitmap) {
  CO_TRY_OK(co_await target.add_bitmap(bitmap.name, bitmap.granularity_bits, false));
  CO_TRY_OK(co_await target.merge_bitmap(bitmap.name, source, bitmap.name));
  if (bitmap.enabled) co_return co_await target.enable_bitmap(bitmap.name, true);
  co_return ok();
}

Task<Result<>> copy_bitmaps(const ConvertRequest& request, Layer& source, Layer& target) {
  if (target.qcow2() == nullptr)
    co_return Error{ErrorClass::generic,
                    fmt::format("Format driver '{}' does not support bitmaps", target.format()),
                    ENOTSUP};
  // QEMU's order: the newest first.
  const std::vector<qcow2::BitmapInfo> bitmaps = source.qcow2()->bitmaps();
  for (const qcow2::BitmapInfo& bitmap : std::views::reverse(bitmaps)) {
    if (bitmap.in_use) {
      if (request.warning)
        request.warning(fmt::format("warning: Skipping inconsistent bitmap '{}'", bitmap.name));
      continue;
    }
    if (auto done = co_await copy_bitmap(*source.qcow2(), *target.qcow2(), bitmap); !done)
      co_return os_error(done.error().number,
                         fmt::format("Failed to create bitmap {}", bitmap.name));
  }
  co_return ok();
}

// Everything into the open destination.
Task<Result<>> fill(const ConvertRequest& request, const Layers& sources, Layer& target,
                    bool zero_already) {
  CO_TRY(const std::uint64_t total, total_size(sources));
  if (target.size() < total)
    co_return Error{ErrorClass::generic, "output file is smaller than input file", EINVAL};
  if (request.compressed && target.cluster_size() == 0)
    co_return Error{ErrorClass::generic, "Compression not supported for this file format", ENOTSUP};
  if (request.compressed && target.qcow2() != nullptr && target.qcow2()->header().crypt_method != 0)
    co_return Error{ErrorClass::generic,
                    "Compression and encryption not supported at the same time", EINVAL};
  CopyOptions options{.sparse = request.sparse,
                      .compressed = request.compressed,
                      .zero_already = zero_already,
                      .salvage = request.salvage,
                      .warning = request.warning};
  options.over_backing = request.over_backing;
  options.backing_size = target.backing() != nullptr ? target.backing()->size() : UINT64_MAX;
  options.progress = request.progress;
  CO_TRY_OK(co_await copy(sources, target, std::move(options)));
  if (request.compressed) {  // the last compressed cluster ends anywhere; QEMU pads the file
    CO_TRY_OK(co_await target.flush());
    CO_TRY_OK(
        co_await target.file()->truncate(align_up(target.file()->size(), qcow2::format::kSector)));
  }
  if (request.bitmaps) CO_TRY_OK(co_await copy_bitmaps(request, *sources.front(), target));
  co_return ok();
}

Task<Result<>> make_and_fill(const Context& context, ConvertRequest request,
                             const Layers& sources) {
  auto made = co_await NewImage::make(context, request.destination.filename, request.format,
                                      request.create);
  if (!made) co_return making(request, made.error());
  const bool zero_already = request.sparse > 0 && !request.over_backing;
  CO_TRY_OK(co_await fill(request, sources, made->layer(), zero_already));
  if (auto done = co_await made->finish(); !done) co_return making(request, done.error());
  co_return ok();
}

}  // namespace

Task<Result<>> convert(const Context& context, ConvertRequest request) {
  if (request.over_backing && request.sources.size() > 1)
    co_return Error{ErrorClass::generic,
                    "Having a backing file for the target makes no sense when concatenating "
                    "multiple input images",
                    EINVAL};
  Layers sources;
  for (const OpenRequest& source : request.sources) {
    CO_TRY(auto layer, co_await open_chain(context, source));
    sources.push_back(std::move(layer));
  }
  CO_TRY_OK(check_bitmaps(request, sources));
  for (const auto& source : sources)
    CO_TRY_OK(refuse_source(context, *source, request.destination.filename));
  CO_TRY(const std::uint64_t total, total_size(sources));
  if (!request.existing) {
    request.create.size = total;
    co_return co_await make_and_fill(context, std::move(request), sources);
  }
  OpenRequest open = request.destination;
  open.writable = true;
  CO_TRY(const std::unique_ptr<Layer> target, co_await open_chain(context, std::move(open)));
  co_return co_await work_and_close(*target, fill(request, sources, *target, request.zero_already));
}

}  // namespace sim::image
