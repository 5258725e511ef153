// The guest's bytes where they are stored: in which file, and encrypted or not.

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

static Task<Result<>> failed(Error error) { co_return error; }
static Task<Result<>> done_now() { co_return ok(); }

Result<> Image::may_write(HostOffset host, std::uint64_t length) {
  if (format_.data_file) return ok();
  const HostCluster first = geometry_.cluster_of(host);
  return tables_.metadata().check(first, geometry_.cluster_of(host + (length - 1)) + 1);
}

Result<> Image::may_read(HostOffset host, std::uint64_t length) {
  if (options_.lax || format_.data_file) return ok();
  const HostOffset last = geometry_.start_of(geometry_.cluster_of(host + (length - 1)));
  if (last.value < file_end_) return ok();
  file_end_ = file_->size();
  if (last.value < file_end_) return ok();
  return os_error(
      EIO, fmt::format("Data cluster at offset {:#x} lies beyond the end of the file", last.value));
}

// [spec, "Encrypted data"] LUKS counts sectors of the file, the legacy method those of the disk.
std::uint64_t Image::cipher_sector(HostOffset host, GuestOffset at) const {
  return (header_.crypt_method == format::kCryptLuks ? host.value : at.value) / format::kSector;
}

Task<Result<>> Image::read_data(HostOffset host, GuestOffset at, MutableBytes into) {
  CO_TRY_OK(may_read(host, into.size()));
  if (encrypted() && !options_.cipher) co_return os_error(EIO);
  if (observed()) co_await tables_.tell("read_aio");
  CO_TRY_OK(co_await data().read(host.value, into));
  if (encrypted()) options_.cipher->decrypt(cipher_sector(host, at), into);
  co_return ok();
}

Task<Result<>> Image::write_data(HostOffset host, GuestOffset at, Bytes from) {
  if (auto allowed = may_write(host, from.size()); !allowed) return failed(allowed.error());
  if (encrypted()) return write_encrypted(host, at, from);
  return data().write(host.value, from);
}

Task<Result<>> Image::write_encrypted(HostOffset host, GuestOffset at, Bytes from) {
  constexpr std::size_t kBufferBytes = 65536;
  if (!options_.cipher) co_return os_error(EIO);
  std::vector<std::byte> buffer;
  while (!from.empty()) {
    const Bytes part = from.first(std::min(from.size(), kBufferBytes));
    buffer.assign(part.begin(), part.end());
    options_.cipher->encrypt(cipher_sector(host, at), buffer);
    CO_TRY_OK(co_await data().write(host.value, buffer));
    from = from.subspan(part.size());
    host = host + part.size();
    at = at + part.size();
  }
  co_return ok();
}

// Stores what the guest reads as zeroes.
Task<Result<>> Image::write_zero_data(HostOffset host, GuestOffset at, std::uint64_t length) {
  CO_TRY_OK(may_write(host, length));
  if (!encrypted()) co_return co_await data().write_zeroes(host.value, length, false);
  const std::vector<std::byte> zeroes(length);
  co_return co_await write_encrypted(host, at, zeroes);
}

// A raw data file must read as the guest does; it is as long as the disk.
Task<Result<>> Image::zero_raw_data(HostOffset host, std::uint64_t length) {
  if (host.value >= size_) return done_now();
  return data().write_zeroes(host.value, std::min(length, size_ - host.value), true);
}

Task<Result<>> Image::read_part_of_sectors(GuestOffset at, MutableBytes into) {
  const std::uint64_t head = at.value % format::kSector;
  std::vector<std::byte> sectors(align_up(head + into.size(), format::kSector));
  CO_TRY_OK(co_await read_at({at.value - head}, sectors));
  std::ranges::copy(Bytes(sectors).subspan(head, into.size()), into.begin());
  co_return ok();
}

// QEMU widens the request to whole sectors and makes one of it.
Task<Result<>> Image::write_part_of_sectors(GuestOffset at, Bytes from) {
  const std::uint64_t head = at.value % format::kSector;
  const GuestOffset start{at.value - head};
  std::vector<std::byte> sectors(align_up(head + from.size(), format::kSector));
  const MutableBytes whole(sectors);
  CO_TRY_OK(co_await read_at(start, whole.first(format::kSector)));
  if (sectors.size() > format::kSector)
    CO_TRY_OK(
        co_await read_at(start + (sectors.size() - format::kSector), whole.last(format::kSector)));
  std::ranges::copy(from, whole.subspan(head).begin());
  co_return co_await write_pieces(start, sectors);
}

}  // namespace sim::qcow2
