#include "sim/image/rebase.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "sim/base/page_buffer.h"
#include "sim/image/copy.h"
#include "sim/image/layer.h"
#include "sim/image/output.h"
#include "sim/image/recognise.h"
#include "sim/qcow2/format.h"

namespace sim::image {

namespace {

using qcow2::format::kSector;

// Reads what there is; the rest is zeroes.  A null layer has nothing.
Task<Result<>> read_within(Layer* layer, std::uint64_t at, MutableBytes into) {
  const std::uint64_t size = layer == nullptr ? 0 : layer->size();
  const std::uint64_t present =
      at < size ? std::min<std::uint64_t>(into.size(), size - at) : std::uint64_t{0};
  std::ranges::fill(into.subspan(present), std::byte{0});
  if (present == 0) co_return ok();
  co_return co_await layer->read(at, into.first(present));
}

// How many leading bytes, in sectors, are all the same in both, or all differ sector by sector.
struct Comparison {
  std::uint64_t length = 0;
  bool differs = false;
};
Comparison compare(Bytes left, Bytes right) {
  const auto differs_at = [&](std::uint64_t at) {
    const std::uint64_t part = std::min<std::uint64_t>(kSector, left.size() - at);
    return std::memcmp(left.data() + at, right.data() + at, part) != 0;
  };
  Comparison result{std::min<std::uint64_t>(kSector, left.size()), differs_at(0)};
  while (result.length < left.size() && differs_at(result.length) == result.differs)
    result.length = std::min<std::uint64_t>(result.length + kSector, left.size());
  return result;
}

class Rebaser {
 public:
  // `old` and `fresh` may be null; `shared` is the layer of the old chain that the new one is, too.
  Rebaser(Layer& overlay, Layer* fresh, const Layer* shared, RebaseRequest& request)
      : overlay_(overlay),
        old_(overlay.backing()),
        fresh_(fresh),
        shared_(shared),
        request_(request),
        left_(kCopyBytes),
        right_(kCopyBytes) {}

  Task<Result<>> run();

 private:
  Task<Result<std::uint64_t>> same_length(std::uint64_t at, std::uint64_t& length);
  Task<Result<>> keep(std::uint64_t at, std::uint64_t length);

  Layer& overlay_;
  Layer* old_;
  Layer* fresh_;
  const Layer* shared_;
  RebaseRequest& request_;
  PageBuffer left_, right_;
};

// How many bytes at `at` will be read as before whatever is beneath; if none, `length` becomes how
// many may differ.
Task<Result<std::uint64_t>> Rebaser::same_length(std::uint64_t at, std::uint64_t& length) {
  CO_TRY(const Status own, co_await overlay_.status(at, length));
  if (own.allocated) co_return own.length;
  length = own.length;
  if (shared_ == nullptr || at >= old_->size()) co_return 0;
  const std::uint64_t within = std::min(length, old_->size() - at);
  CO_TRY(const ChainStatus below, co_await status_above(*old_, shared_, at, within));
  length = below.status.length;
  co_return below.status.allocated ? 0 : below.status.length;
}

// Stores the old backing's bytes where the new one's differ.
Task<Result<>> Rebaser::keep(std::uint64_t at, std::uint64_t length) {
  const MutableBytes old = left_.first(length);
  const MutableBytes fresh = right_.first(length);
  const bool all_zeroes = old_ == nullptr || at >= old_->size();
  CO_TRY_OK(co_await read_within(old_, at, old));
  CO_TRY_OK(co_await read_within(fresh_, at, fresh));
  for (std::uint64_t done = 0; done < length;) {
    const Comparison found = compare(Bytes(old).subspan(done), Bytes(fresh).subspan(done));
    if (found.differs && all_zeroes)
      CO_TRY_OK(co_await overlay_.write_zeroes(at + done, found.length, false));
    else if (found.differs)
      CO_TRY_OK(co_await overlay_.write(at + done, Bytes(old).subspan(done, found.length)));
    done += found.length;
  }
  co_return ok();
}

Task<Result<>> Rebaser::run() {
  const std::uint64_t size = overlay_.size();
  for (std::uint64_t at = 0; at < size;) {
    std::uint64_t length = size - at;
    CO_TRY(const std::uint64_t same, co_await same_length(at, length));
    if (same == 0) {
      length = std::min(length, kCopyBytes);
      // Beyond the end of the old backing file its bytes are zeroes, and stored as such.
      if (old_ != nullptr && at < old_->size()) length = std::min(length, old_->size() - at);
      CO_TRY_OK(co_await keep(at, length));
    }
    at += same > 0 ? same : length;
    if (request_.progress) request_.progress(at, size);
  }
  co_return ok();
}

Error changing(const RebaseRequest& request, const Error& error) {
  if (error.number == ENOSPC)
    return os_error(ENOSPC, fmt::format("Could not change the backing file to '{}': No space left "
                                        "in the file header",
                                        request.backing));
  return os_error(error.number,
                  fmt::format("Could not open '{}': Could not change the backing file to '{}'",
                              request.image.filename, request.backing));
}

// The layer of the old chain that is the same file as the new backing file.
const Layer* shared_layer(const Context& context, const Layer* old, const std::string& path) {
  const auto identity = [&](const std::string& name) {
    const auto canonical = context.files.canonical(name);
    return canonical ? *canonical : name;
  };
  const std::string wanted = identity(path);
  for (; old != nullptr; old = old->backing())
    if (identity(old->path()) == wanted) return old;
  return nullptr;
}

Task<Result<>> copy_what_differs(const Context& context, Layer& overlay, RebaseRequest& request) {
  std::unique_ptr<Layer> fresh;
  const Layer* shared = nullptr;
  if (!request.backing.empty()) {
    CO_TRY(const std::string path, follow(context, overlay.path(), request.backing));
    shared = shared_layer(context, overlay.backing(), path);
    auto opened = co_await open_chain(context, {.filename = path,
                                                .format = request.backing_format,
                                                .force_share = request.image.force_share});
    if (!opened)
      co_return os_error(opened.error().number,
                         fmt::format("Could not open new backing file '{}'", request.backing));
    fresh = *std::move(opened);
    if (!refuse_source(context, *fresh, overlay.path()))
      co_return Error{ErrorClass::generic,
                      fmt::format("Could not open new backing file '{}': '{}' would be in its own "
                                  "chain: the backing files would make a loop",
                                  request.backing, request.image.filename),
                      ELOOP};
  }
  Rebaser rebaser(overlay, fresh.get(), shared, request);
  CO_TRY_OK(co_await rebaser.run());
  co_return co_await overlay.flush();
}

Task<Result<>> rebase_layer(const Context& context, Layer& overlay, RebaseRequest& request) {
  if (overlay.qcow2() == nullptr) co_return os_error(ENOTSUP, "the format has no backing files");
  if (!request.unsafe) CO_TRY_OK(co_await copy_what_differs(context, overlay, request));
  if (auto done =
          co_await overlay.qcow2()->change_backing_name(request.backing, request.backing_format);
      !done)
    co_return changing(request, done.error());
  co_return ok();
}

}  // namespace

Task<Result<>> rebase(const Context& context, RebaseRequest request) {
  if (!request.backing_format.empty() && !is_format(request.backing_format))
    co_return Error{ErrorClass::generic,
                    fmt::format("Invalid format name: '{}'", request.backing_format), EINVAL};
  request.image.writable = true;
  request.image.with_backing = !request.unsafe;
  CO_TRY(const std::unique_ptr<Layer> overlay, co_await open_chain(context, request.image));
  co_return co_await work_and_close(*overlay, rebase_layer(context, *overlay, request));
}

}  // namespace sim::image
