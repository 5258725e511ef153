#include "sim/image/compare.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "sim/base/page_buffer.h"
#include "sim/qcow2/format.h"

namespace sim::image {

namespace {

constexpr std::uint64_t kSector = qcow2::format::kSector;
// Two of them stay in a processor's cache.
constexpr std::uint64_t kBufferBytes = 256_KiB;

// One of the two images, and where it is.
struct Side {
  Layer& layer;
  bool first = false;
  ChainStatus found = {};
  PageBuffer buffer = PageBuffer(kBufferBytes);
};

class Comparer {
 public:
  Comparer(Layer& first, Layer& second, CompareOptions options)
      : left_{.layer = first, .first = true},
        right_{.layer = second},
        options_(std::move(options)) {}

  Task<Comparison> run() {
    const std::uint64_t left = left_.layer.size(), right = right_.layer.size();
    if (options_.strict && left != right) {
      result_.difference = Difference{.kind = Difference::Kind::size};
      co_return result_;
    }
    total_ = std::max(left, right);
    const std::uint64_t both = std::min(left, right);
    for (std::uint64_t at = 0; at < both && !ended();) {
      if (!co_await ask(left_, at, left - at)) break;
      if (!co_await ask(right_, at, right - at)) break;
      const std::uint64_t length =
          std::min({left_.found.status.length, right_.found.status.length, both - at});
      if (options_.strict && !same_status(at)) {
        result_.difference = Difference{.kind = Difference::Kind::status, .offset = at};
        break;
      }
      co_await compare_stretch(at, length);
      at += length;
    }
    Side& longer = left > right ? left_ : right_;
    for (std::uint64_t at = both; at < total_ && !ended();) {
      if (!co_await ask(longer, at, total_ - at)) break;
      const std::uint64_t length = longer.found.status.length;
      if (!longer.found.status.zero) co_await expect_zeroes(longer, at, length);
      at += length;
    }
    co_return std::move(result_);
  }

 private:
  bool ended() const { return result_.difference || result_.error; }

  void report(std::uint64_t done) const {
    if (options_.progress) options_.progress(done, total_);
  }

  // What the image has at `at`; false after an error.
  Task<bool> ask(Side& side, std::uint64_t at, std::uint64_t length) {
    auto found = co_await status_of_chain(side.layer, at, length);
    if (!found) {
      result_.error =
          CompareError{.error = std::move(found).error(), .in_first = side.first, .offset = at};
      co_return false;
    }
    side.found = *found;
    co_return true;
  }

  // As far as QEMU tells stretches apart: the end of the disk is a part of it.
  bool same_status(std::uint64_t at) const {
    const Status& left = left_.found.status;
    const Status& right = right_.found.status;
    const bool left_ends = at + left.length == left_.layer.size();
    const bool right_ends = at + right.length == right_.layer.size();
    return left.allocated == right.allocated && left.zero == right.zero &&
           left.data == right.data && left.placed == right.placed && left_ends == right_ends;
  }

  Task<void> compare_stretch(std::uint64_t at, std::uint64_t length) {
    const bool left_zero = left_.found.status.zero, right_zero = right_.found.status.zero;
    if (left_zero && right_zero) {
      report(at + length);
      co_return;
    }
    if (left_zero != right_zero) {
      co_await expect_zeroes(left_zero ? right_ : left_, at, length);
      co_return;
    }
    while (length > 0) {
      const std::uint64_t part = std::min(length, kBufferBytes);
      if (!co_await read(left_, at, part) || !co_await read(right_, at, part)) co_return;
      if (std::memcmp(left_.buffer.data(), right_.buffer.data(), part) != 0) {
        differ(at, [&](std::uint64_t from, std::uint64_t bytes) {
          return std::memcmp(left_.buffer.data() + from, right_.buffer.data() + from, bytes) == 0;
        });
        co_return;
      }
      at += part;
      length -= part;
      report(at);
    }
  }

  Task<void> expect_zeroes(Side& side, std::uint64_t at, std::uint64_t length) {
    while (length > 0) {
      const std::uint64_t part = std::min(length, kBufferBytes);
      if (!co_await read(side, at, part)) co_return;
      const Bytes bytes = side.buffer.first(part);
      if (!all_zero(bytes)) {
        differ(at, [&](std::uint64_t from, std::uint64_t count) {
          return all_zero(bytes.subspan(from, count));
        });
        co_return;
      }
      at += part;
      length -= part;
      report(at);
    }
  }

  Task<bool> read(Side& side, std::uint64_t at, std::uint64_t length) {
    auto got = co_await side.layer.read(at, side.buffer.first(length));
    if (got) co_return true;
    result_.error = CompareError{
        .error = std::move(got).error(), .in_first = side.first, .reading = true, .offset = at};
    co_return false;
  }

  // The first sector from `at` that is not the same; there is one in the buffer.
  template <class Same>
  void differ(std::uint64_t at, Same same) {
    std::uint64_t from = 0;
    while (from + kSector < kBufferBytes && same(from, kSector)) from += kSector;
    result_.difference = Difference{.kind = Difference::Kind::content, .offset = at + from};
  }

  Side left_, right_;
  CompareOptions options_;
  std::uint64_t total_ = 0;
  Comparison result_;
};

}  // namespace

Task<Comparison> compare(Layer& first, Layer& second, CompareOptions options) {
  Comparer comparer(first, second, std::move(options));
  co_return co_await comparer.run();
}

}  // namespace sim::image
