// One opened image and the chain below it, without a machine around: what `understudy image` works
// on.  A Layer reads as the guest would see it; its status is of the layer alone.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

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
  struct Place {
    // As the members say.
    std::string path = {}, name = {}, shown_name = {}, data_name = {};
    std::shared_ptr<storage::Storage> file = {}, data_file = {};
  };

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
  // Appends that, and maybe stretches that follow it within the range: about `most`.
  virtual Task<Result<>> statuses(std::uint64_t offset, std::uint64_t length, std::size_t most,
                                  std::vector<Status>& into);
  // Writes back what is cached, here and below.  Called once, before the layer goes; a layer that
  // was opened for writing and is not closed loses what was not flushed.
  virtual Task<Result<>> close() = 0;

  virtual std::uint64_t size() const = 0;          // virtual, bytes
  virtual std::uint64_t cluster_size() const = 0;  // 0: raw
  virtual const char* format() const = 0;          // "raw", "qcow2"
  virtual qcow2::Image* qcow2() { return nullptr; }

  // The path that was opened (absolute, as it was composed; links are not resolved).
  const std::string& path() const { return place_.path; }
  // The same as it was typed, or composed from that and what the image above says.
  const std::string& name() const { return place_.name; }
  // What QEMU calls it: name(), or "json:{…}" if there is more to it.
  const std::string& shown_name() const { return place_.shown_name; }
  const std::shared_ptr<storage::Storage>& file() const { return place_.file; }
  // The external data file and its name as it was composed; null: there is none.
  const std::shared_ptr<storage::Storage>& data_file() const { return place_.data_file; }
  const std::string& data_name() const { return place_.data_name; }

  Layer* backing() const { return backing_.get(); }
  // Replaces what is below; null: nothing.
  virtual void set_backing(std::unique_ptr<Layer> backing) { backing_ = std::move(backing); }
  // Hands over what is below; there is nothing then.
  std::unique_ptr<Layer> take_backing();

 protected:
  explicit Layer(Place place) : place_(std::move(place)) {}

  // Called by whatever changes the layer: its status is not what it was.
  void forget();

 private:
  friend class ChainWalk;
  // What is remembered of `offset`, at most `length`; false: nothing.
  bool recall(std::uint64_t offset, std::uint64_t length, Status& status);
  // Remembers what is there, and maybe more.
  Task<Result<>> learn(std::uint64_t offset, std::uint64_t length);

  Place place_;
  std::unique_ptr<Layer> backing_;
  // Stretches that follow each other, the one that was asked for last, and where that begins: going
  // through a chain from front to back then looks at each stretch of each layer once.
  std::vector<Status> known_;
  std::size_t known_index_ = 0;
  std::uint64_t known_at_ = 0;
  std::size_t ahead_ = 1;  // so many are asked for: more and more while they are all used
};

// Does `work` with an open layer, then closes it whatever came of that: an image that is only
// dropped keeps its mark that its bitmaps are in use.
Task<Result<>> work_and_close(Layer& layer, Task<Result<>> work);

// What a stretch is when the whole chain from `top` down is looked at, and the depth of the layer
// that decides (0 is `top`): one that has it, or one that has not where nothing lies below it, or
// something that is too short; then it reads as zeroes.
struct ChainStatus {
  Status status = {};
  std::uint32_t depth = 0;
  Layer* layer = nullptr;  // the one that decides
};
Task<Result<ChainStatus>> status_of_chain(Layer& top, std::uint64_t offset, std::uint64_t length);

// The same from `top` down to, but not including, `base` (null: the whole chain).  Where `base`
// would decide, the status is neither allocated nor zero, and layer is `base`.
Task<Result<ChainStatus>> status_above(Layer& top, const Layer* base, std::uint64_t offset,
                                       std::uint64_t length);
// The same if every layer remembers its part; else nothing.
std::optional<ChainStatus> known_status_above(Layer& top, const Layer* base, std::uint64_t offset,
                                              std::uint64_t length);

}  // namespace sim::image
