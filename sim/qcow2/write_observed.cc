// Guest writes as QEMU's requests, for an image that is observed: what is around the data is read
// first, and written with it.

#include <algorithm>
#include <vector>

#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

Task<Result<>> Image::store_observed(GuestOffset at, Bytes from, Piece& piece) {
  std::vector<Part> open;  // those whose surroundings are to be copied
  for (const Part& part : piece.parts) {
    if (part.head == 0 && part.tail == 0) continue;
    CO_TRY(const bool zeroed, co_await zero_part_space(at, piece, part));
    if (!zeroed) open.push_back(part);
  }
  const bool in_one = open.size() == 1 && open[0].at == 0 && open[0].length == piece.length;
  if (!in_one && !from.empty()) {
    co_await tables_.tell("write_aio");
    CO_TRY_OK(co_await write_data(piece.host, at, from));
  }
  for (const Part& part : open)
    CO_TRY_OK(co_await copy_around(at, piece, part, in_one ? from : Bytes()));
  piece.copied = !open.empty();
  co_return ok();
}

// QEMU: where all around the data reads as zeroes, the clusters are zeroed in one request.  False:
// that cannot be done.
Task<Result<bool>> Image::zero_part_space(GuestOffset at, const Piece& piece, const Part& part) {
  if (encrypted()) co_return false;
  const GuestOffset start{at.value + part.at - part.head};
  const GuestOffset end = at + part.at + part.length;
  CO_TRY(const bool head, co_await region_is_zero(start, part.head));
  if (!head) co_return false;
  CO_TRY(const bool tail, co_await region_is_zero(end, part.tail));
  if (!tail) co_return false;
  const HostOffset host{piece.host.value + part.at - part.head};
  const std::uint64_t length = part.head + part.length + part.tail;
  CO_TRY_OK(may_write(host, length));
  co_await tables_.tell("cluster_alloc_space");
  const Result<> done = co_await data().write_zeroes(host.value, length, false);
  if (done) co_return true;
  if (done.error().number == ENOTSUP || done.error().number == EAGAIN) co_return false;
  co_return Error(done.error());
}

Task<Result<bool>> Image::region_is_zero(GuestOffset at, std::uint64_t length) {
  length = at.value >= size_ ? 0 : std::min(length, size_ - at.value);
  while (length > 0) {
    Mapping found;
    {
      const auto held = co_await lock_.lock();
      CO_TRY(found, co_await mapping(at, length));
    }
    const Extent& run = found.extent;
    if (run.kind == L2Format::Kind::absent && backing_ != nullptr) {
      CO_TRY(const bool zero, co_await backing_->reads_as_zero(at.value, run.length));
      if (!zero) co_return false;
    } else if (run.kind != L2Format::Kind::absent && run.kind != L2Format::Kind::zero) {
      co_return false;
    }
    at = at + run.length;
    length -= run.length;
  }
  co_return true;
}

// Copies what the guest sees around a part; `data`, if there is any, lies between.
Task<Result<>> Image::copy_around(GuestOffset at, const Piece& piece, const Part& part,
                                  Bytes data) {
  constexpr std::uint64_t kReadAcross = 16384;  // bytes between: then it is one read (QEMU)
  const GuestOffset start{at.value + part.at - part.head};
  const HostOffset host{piece.host.value + part.at - part.head};
  const std::uint64_t behind = part.head + part.length;
  std::vector<std::byte> buffer(behind + part.tail);
  const MutableBytes all(buffer);
  if (part.head > 0 && part.tail > 0 && part.length <= kReadAcross) {
    CO_TRY_OK(co_await read_around(start, all));
  } else {
    CO_TRY_OK(co_await read_around(start, all.first(part.head)));
    CO_TRY_OK(co_await read_around(start + behind, all.subspan(behind)));
  }
  if (!data.empty()) {
    std::ranges::copy(data, all.subspan(part.head).begin());
    co_await tables_.tell("write_aio");
    co_return co_await write_around(start, host, all);
  }
  CO_TRY_OK(co_await write_around(start, host, all.first(part.head)));
  co_return co_await write_around(start + behind, host + behind, all.subspan(behind));
}

Task<Result<>> Image::read_around(GuestOffset at, MutableBytes into) {
  if (into.empty()) co_return ok();
  co_await tables_.tell("cow_read");
  co_return co_await read_at(at, into);
}

Task<Result<>> Image::write_around(GuestOffset at, HostOffset host, Bytes from) {
  if (from.empty()) co_return ok();
  CO_TRY_OK(may_write(host, from.size()));
  co_await tables_.tell("cow_write");
  co_return co_await write_data(host, at, from);
}

}  // namespace sim::qcow2
