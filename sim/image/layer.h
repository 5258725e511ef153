// One opened image and the chain below it, without a machine around: what `understudy image` works
// on.  A Layer reads as the guest would see it; its status is of the layer alone.

#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "sim/base/bytes.h"
#include "sim/base/result.h"
#include "sim/qcow2/image.h"
#include "sim/storage/storage.h"
#include "sim/world/task.h"

namespace sim::image {

// What a stretch of a layer is, by this layer alone.
struct Status {
  std::uint64_t length = 0;  // bytes, at most what was asked for
  bool allocated = false;    // this layer decides what is read; else what is below
  bool zero = false;         // known to read as zeroes (if allocated)
  bool data = false;         // bytes are stored for it (`map` calls it so)
  bool compressed = false;
  bool placed = false;  // its bytes are at `offset` of the file
  std::uint64_t offset = 0;
};

class Layer {
 public:
  virtual ~Layer() = default;

  // Ranges lie within size(); what a layer does not have comes from the one below, zeroes beyond
  // its end.
  virtual Task<Result<>> read(std::uint64_t offset, MutableBytes into) = 0;
  virtual Task<Result<>> write(std::uint64_t offset, Bytes from) = 0;
  virtual Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) = 0;
  virtual Task<Result<>> discard(std::uint64_t offset, std::uint64_t length) = 0;
  // Whole clusters; ENOTSUP for raw.
  virtual Task<Result<>> write_compressed(std::uint64_t offset, Bytes from) = 0;
  virtual Task<Result<>> flush() = 0;
  virtual Task<Result<>> resize(std::uint64_t size, qcow2::Preallocation preallocation) = 0;
  // The longest known stretch of one kind from `offset`, at most `length` (> 0, within size()).
  virtual Task<Result<Status>> status(std::uint64_t offset, std::uint64_t length) = 0;
  // Writes back what is cached.  Called once, before the layer goes; a layer that was opened for
  // writing and is not closed loses what was not flushed.
  virtual Task<Result<>> close() = 0;

  virtual std::uint64_t size() const = 0;          // virtual, bytes
  virtual std::uint64_t cluster_size() const = 0;  // 0: raw
  virtual const char* format() const = 0;          // "raw", "qcow2"
  virtual qcow2::Image* qcow2() { return nullptr; }

  // The path that was opened (absolute, as it was composed; links are not resolved).
  const std::string& path() const { return path_; }
  const std::shared_ptr<storage::Storage>& file() const { return file_; }

  Layer* backing() const { return backing_.get(); }
  // Replaces what is below; null: nothing.
  virtual void set_backing(std::unique_ptr<Layer> backing) { backing_ = std::move(backing); }

 protected:
  Layer(std::string path, std::shared_ptr<storage::Storage> file)
      : path_(std::move(path)), file_(std::move(file)) {}

 private:
  std::string path_;
  std::shared_ptr<storage::Storage> file_;
  std::unique_ptr<Layer> backing_;
};

// What a stretch is when the whole chain from `top` down is looked at, and which layer decides:
// depth 0 is `top`; `allocated` is false where no layer has it (it reads as zeroes, depth is the
// number of layers then).
struct ChainStatus {
  Status status;
  std::uint32_t depth = 0;
};
Task<Result<ChainStatus>> status_of_chain(Layer& top, std::uint64_t offset, std::uint64_t length);

// The same from `top` down to, but not including, `base` (null: the whole chain).
Task<Result<ChainStatus>> status_above(Layer& top, const Layer* base, std::uint64_t offset,
                                       std::uint64_t length);

}  // namespace sim::image
