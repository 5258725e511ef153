#include "sim/image/dd.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "sim/base/page_buffer.h"
#include "sim/image/layer.h"
#include "sim/image/new_image.h"
#include "sim/image/output.h"

namespace sim::image {

namespace {

constexpr std::uint64_t kBufferMax = 16_MiB;

// What is copied of the source: bytes [start, end).
struct Part {
  std::uint64_t start = 0, end = 0;
};

Part part_of(const DdRequest& request, std::uint64_t size) {
  Part part{.end = size};
  if (request.count)
    part.end = std::min(size, checked_mul(*request.count, request.block).value_or(size));
  const auto start = checked_mul(request.skip, request.block);
  if (!start || *start > part.end) {
    if (request.warning)
      request.warning(fmt::format("{}: cannot skip to specified offset", request.source.filename));
    return {part.end, part.end};
  }
  part.start = *start;
  return part;
}

// By blocks, or by clusters if those are larger: the same file comes of it.
Task<Result<>> copy_part(Layer& source, Layer& target, const Part& part, std::uint64_t block) {
  const std::uint64_t unit = target.cluster_size() > 0 ? target.cluster_size() : 65536;
  const std::uint64_t step = std::min(std::max(block, unit), kBufferMax);
  PageBuffer buffer(step);
  for (std::uint64_t at = part.start; at < part.end;) {
    const MutableBytes bytes = buffer.first(std::min(step, part.end - at));
    if (auto got = co_await source.read(at, bytes); !got)
      co_return os_error(got.error().number, "error while reading from input image file");
    if (auto put = co_await target.write(at - part.start, bytes); !put)
      co_return os_error(put.error().number, "error while writing to output image file");
    at += bytes.size();
  }
  co_return ok();
}

}  // namespace

Task<Result<>> dd(const Context& context, DdRequest request) {
  CO_TRY(std::unique_ptr<Layer> source, co_await open_chain(context, request.source));
  CO_TRY_OK(refuse_source(context, *source, request.destination));
  const Part part = part_of(request, source->size());
  auto made = co_await NewImage::make(context, request.destination, request.format,
                                      {.size = part.end - part.start});
  if (!made)
    co_return Error{ErrorClass::generic,
                    fmt::format("{}: error while creating output image: {}", request.destination,
                                made.error().desc),
                    made.error().number};
  CO_TRY_OK(co_await copy_part(*source, made->layer(), part, request.block));
  co_return co_await made->finish();
}

}  // namespace sim::image
