// The order and the pieces are those of the job that qemu-img 7.2 runs (measured; where more than
// one of its requests is under way, QEMU's own allocation varies from run to run, ours is in the
// order of the disk).

#include "sim/image/commit.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "sim/base/page_buffer.h"
#include "sim/image/layer.h"

namespace sim::image {

namespace {

class Committer {
 public:
  Committer(Layer& top, Layer& base, CommitRequest& request)
      : top_(top),
        base_(base),
        request_(request),
        // Raw: QEMU's default; else clusters, but not smaller than a page.
        granule_(base.cluster_size() == 0 ? 65536 : std::max(base.cluster_size(), kGranuleMin)),
        buffer_(std::max(kPieceBytes, granule_)) {}

  Task<Result<>> run();

 private:
  static constexpr std::uint64_t kGranuleMin = 4096;
  static constexpr std::uint64_t kPieceBytes = 1_MiB;
  static constexpr std::uint64_t kRunBytes = 10_MiB;  // looked at as a whole

  // Whole granules (the disk's last may be short) that hold data above the base.
  struct Range {
    std::uint64_t start = 0, end = 0;
  };
  Task<Result<Range>> next_range(std::uint64_t from);
  Task<Result<std::uint64_t>> copy_piece(const Range& range);

  Layer& top_;
  Layer& base_;
  CommitRequest& request_;
  std::uint64_t granule_;
  PageBuffer buffer_;
};

// The first range at or behind `from`, a multiple of the granule; empty if there is none.
Task<Result<Committer::Range>> Committer::next_range(std::uint64_t from) {
  const std::uint64_t size = top_.size();
  Range range{from, from};
  for (std::uint64_t at = from; at < size;) {
    CO_TRY(const ChainStatus found, co_await status_above(top_, &base_, at, size - at));
    const std::uint64_t stop = at + found.status.length;
    const bool begun = range.end > range.start;
    if (found.status.allocated) {
      if (!begun) range.start = align_down(at, granule_);
      range.end = align_up(stop, granule_);
      if (range.end - range.start >= kRunBytes) break;
      at = range.end;
    } else {
      if (begun && stop >= std::min(range.end + granule_, size)) break;
      at = stop;
    }
  }
  range.end = std::min({range.end, align_up(range.start + kRunBytes, granule_), size});
  co_return range;
}

// The first piece of a range; returns how long it was.
Task<Result<std::uint64_t>> Committer::copy_piece(const Range& range) {
  const std::uint64_t length = range.end - range.start;
  CO_TRY(const ChainStatus found, co_await status_above(top_, nullptr, range.start, length));
  const bool data = found.status.allocated && !found.status.zero;
  const std::uint64_t known =
      align_down(std::min(found.status.length, data ? kPieceBytes : length), granule_);
  if (known > 0 && !data) {
    CO_TRY_OK(co_await base_.write_zeroes(range.start, known, true));
    co_return known;
  }
  const std::uint64_t part = std::min(std::max(known, granule_), length);
  const MutableBytes bytes = buffer_.first(part);
  CO_TRY_OK(co_await top_.read(range.start, bytes));
  CO_TRY_OK(co_await base_.write(range.start, bytes));
  co_return part;
}

Task<Result<>> Committer::run() {
  if (base_.size() < top_.size())
    CO_TRY_OK(co_await base_.resize(top_.size(), qcow2::Preallocation::off));
  for (std::uint64_t at = 0;;) {
    CO_TRY(Range range, co_await next_range(at));
    if (range.start == range.end) break;
    while (range.start < range.end) {
      CO_TRY(const std::uint64_t done, co_await copy_piece(range));
      range.start += done;
      if (request_.progress) request_.progress(range.start, top_.size());
    }
    at = range.end;
  }
  if (request_.progress) request_.progress(top_.size(), top_.size());
  co_return co_await base_.flush();
}

// The layer above the one of that name; null: there is none.
Layer* find_above(const Context& context, Layer& top, const std::string& name) {
  const auto path_of = [&](const std::string& path) {
    const auto canonical = context.files.canonical(path);
    return canonical ? *canonical : path;
  };
  const std::string wanted = path_of(absolute(context, name));
  for (Layer* layer = &top; layer->backing() != nullptr; layer = layer->backing()) {
    const bool named = layer->qcow2() != nullptr && layer->qcow2()->header().backing_file == name;
    if (named || path_of(layer->backing()->path()) == wanted) return layer;
  }
  return nullptr;
}

// The layer right above the base, whose base is writable from now on.
Task<Result<Layer*>> above_base(const Context& context, Layer& top, const CommitRequest& request) {
  if (top.backing() == nullptr)
    co_return Error{ErrorClass::generic, "Image does not have a backing file", EINVAL};
  if (request.base.empty()) co_return &top;
  Layer* above = find_above(context, top, request.base);
  if (above == nullptr)
    co_return Error{ErrorClass::generic,
                    fmt::format("Did not find '{}' in the backing chain of '{}'", request.base,
                                request.image.filename),
                    ENOENT};
  if (above == &top) co_return above;
  OpenRequest base{.filename = above->backing()->path(), .format = above->backing()->format()};
  base.writable = true;
  above->set_backing(nullptr);
  CO_TRY(std::unique_ptr<Layer> opened, co_await open_chain(context, std::move(base)));
  above->set_backing(std::move(opened));
  co_return above;
}

Task<Result<>> commit_layer(const Context& context, Layer& top, CommitRequest& request) {
  CO_TRY(Layer * above, co_await above_base(context, top, request));
  {
    Committer committer(top, *above->backing(), request);
    CO_TRY_OK(co_await committer.run());
  }
  if (request.keep_data || !request.base.empty() || top.qcow2() == nullptr) co_return ok();
  if (auto emptied = co_await top.qcow2()->make_empty(); !emptied)
    co_return os_error(emptied.error().number,
                       fmt::format("Could not empty {}", request.image.filename));
  co_return ok();
}

}  // namespace

Task<Result<>> commit(const Context& context, CommitRequest request) {
  request.image.writable = request.image.backing_writable = true;
  CO_TRY(const std::unique_ptr<Layer> top, co_await open_chain(context, request.image));
  co_return co_await work_and_close(*top, commit_layer(context, *top, request));
}

}  // namespace sim::image
