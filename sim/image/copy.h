// Copying what disks hold into another: the loop of convert.
//
// What is written, and in which pieces, is what qemu-img 7.2 does with one writer in order (its
// default), so that the result is byte for byte its (measured; convert_test.cc).

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "sim/base/result.h"
#include "sim/image/layer.h"

namespace sim::image {

// A piece is at most this long, and so is the buffer (QEMU's).
inline constexpr std::uint64_t kCopyBytes = 2_MiB;

struct CopyOptions {
  // So many bytes of zeroes in a row, at least, are not stored; 0: everything is.  A multiple of
  // 512.
  std::uint64_t sparse = 4096;
  bool compressed = false;
  bool zero_already = false;  // the target reads as zeroes wherever nothing was written
  // The target shows a backing file wherever nothing was written, of so many bytes; what the
  // topmost layer of a source does not have is left to it.
  bool over_backing = false;
  std::uint64_t backing_size = 0;
  bool salvage = false;  // what cannot be read becomes zeroes
  // Of the bytes that are data, which are counted beforehand.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};
  std::function<void(std::string_view text)> warning = {};  // of salvage
};

// The sizes of the sources, each in whole sectors, added up; EFBIG if that is too much.
Result<std::uint64_t> total_size(const std::vector<std::unique_ptr<Layer>>& sources);

// Copies the sources, one behind the other, to the start of `target`, which is large enough.
// Errors say at which byte of the target.
Task<Result<>> copy(const std::vector<std::unique_ptr<Layer>>& sources, Layer& target,
                    CopyOptions options);

// The leading bytes of `data` that are to be stored, or not.  Runs of zeroes shorter than `sparse`
// are data, unless they end `data`; a stretch of data begins and ends at multiples of `unit`,
// counted from `at`, where that is possible.
struct Stretch {
  std::uint64_t length = 0;
  bool stored = false;
};
Stretch leading_stretch(Bytes data, std::uint64_t at, std::uint64_t sparse, std::uint64_t unit);

}  // namespace sim::image
