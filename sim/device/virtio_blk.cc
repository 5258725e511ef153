#include "sim/device/virtio_blk.h"

namespace sim::device {

Result<> VirtioBlk::check_range(std::uint64_t offset, std::uint64_t length) const {
  const auto end = checked_add(offset, length);
  if (!end || *end > root_->size()) return os_error(EIO);
  return ok();
}

Task<Result<>> VirtioBlk::read(std::uint64_t offset, MutableBytes into) {
  CO_TRY_OK(check_range(offset, into.size()));
  co_return co_await root_->read(offset, into);
}

Task<Result<>> VirtioBlk::write(std::uint64_t offset, Bytes from) {
  CO_TRY_OK(check_range(offset, from.size()));
  co_return co_await root_->write(offset, from);
}

Task<Result<>> VirtioBlk::write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) {
  CO_TRY_OK(check_range(offset, length));
  co_return co_await root_->write_zeroes(offset, length, unmap);
}

Task<Result<>> VirtioBlk::discard(std::uint64_t offset, std::uint64_t length) {
  CO_TRY_OK(check_range(offset, length));
  co_return co_await root_->discard(offset, length);
}

}  // namespace sim::device
