// A raw file: the disk is the file, rounded up to whole sectors as QEMU does.

#include <algorithm>
#include <array>

#include "sim/image/layers.h"
#include "sim/image/recognise.h"
#include "sim/qcow2/format.h"

namespace sim::image {

namespace {

constexpr std::uint64_t kSector = qcow2::format::kSector;

class RawLayer final : public Layer {
 public:
  RawLayer(Place place, bool writable, bool probed)
      : Layer(std::move(place)),
        size_(align_up(file()->size(), kSector)),
        writable_(writable),
        probed_(probed) {}

  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override {
    if (offset > size_ || into.size() > size_ - offset) return refuse(EIO);
    return file()->read(offset, into);
  }
  Task<Result<>> write(std::uint64_t offset, Bytes from) override {
    forget();
    if (!may_change(offset, from.size())) return refuse(writable_ ? EIO : EBADF);
    if (probed_ && offset < kSector && !from.empty()) return write_first(offset, from);
    return file()->write(offset, from);
  }
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) override {
    forget();
    if (!may_change(offset, length)) return refuse(writable_ ? EIO : EBADF);
    return file()->write_zeroes(offset, length, unmap);
  }
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length) override {
    forget();
    if (!may_change(offset, length)) return refuse(writable_ ? EIO : EBADF);
    return file()->discard(offset, length);
  }
  Task<Result<>> write_compressed(std::uint64_t, Bytes) override { return refuse(ENOTSUP); }
  Task<Result<>> flush() override { return file()->flush(); }

  Task<Result<>> resize(std::uint64_t size, qcow2::Preallocation preallocation) override {
    forget();
    if (!writable_) co_return os_error(EBADF);
    if (preallocation == qcow2::Preallocation::metadata)
      co_return Error{ErrorClass::generic, "Unsupported preallocation mode: metadata", ENOTSUP};
    const std::uint64_t old = file()->size();
    if (preallocation != qcow2::Preallocation::off && size < old)
      co_return Error{ErrorClass::generic, "Preallocation can't be used for shrinking files",
                      EINVAL};
    CO_TRY_OK(co_await file()->truncate(size));
    size_ = align_up(size, kSector);
    if (preallocation != qcow2::Preallocation::off && size > old)
      co_return co_await file()->write_zeroes(old, size - old, false);
    // As QEMU does: direct I/O finds out about alignment by a first block that is there.
    constexpr std::array<std::byte, 4096> kFirstBlock{};
    if (old > 0 || size == 0) co_return ok();
    co_return co_await file()->write(0,
                                     Bytes(kFirstBlock).first(std::min(size, kFirstBlock.size())));
  }

  Task<Result<Status>> status(std::uint64_t offset, std::uint64_t length) override {
    Status status{
        .length = length, .allocated = true, .zero = true, .placed = true, .offset = offset};
    if (offset >= file()->size()) co_return status;  // the rest of the last sector
    const storage::Extent extent = file()->extent_at(offset);
    status.length = std::min(length, extent.length);
    status.data = extent.data;
    status.zero = !extent.data;
    // What is behind the file's end reads as zeroes, like a hole before it.
    if (!extent.data && offset + extent.length == file()->size())
      status.length = std::min(length, size_ - offset);
    co_return status;
  }
  Task<Result<>> close() override {
    if (backing() != nullptr) CO_TRY_OK(co_await backing()->close());
    co_return ok();
  }

  std::uint64_t size() const override { return size_; }
  std::uint64_t cluster_size() const override { return 0; }
  const char* format() const override { return "raw"; }

 private:
  bool may_change(std::uint64_t offset, std::uint64_t length) const {
    return writable_ && offset <= size_ && length <= size_ - offset;
  }
  static Task<Result<>> refuse(int number) { co_return os_error(number); }
  Task<Result<>> write_first(std::uint64_t offset, Bytes from) {
    std::array<std::byte, kSector> start{};
    CO_TRY_OK(co_await file()->read(0, start));
    const std::size_t part = std::min<std::size_t>(from.size(), kSector - offset);
    std::ranges::copy(from.first(part), start.begin() + static_cast<std::ptrdiff_t>(offset));
    if (recognise(start) != "raw") co_return os_error(EPERM);
    co_return co_await file()->write(offset, from);
  }

  std::uint64_t size_;
  bool writable_;
  bool probed_;
};

}  // namespace

std::unique_ptr<Layer> make_raw_layer(Layer::Place place, bool writable, bool probed) {
  return std::make_unique<RawLayer>(std::move(place), writable, probed);
}

}  // namespace sim::image
