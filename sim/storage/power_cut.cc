#include "sim/storage/power_cut.h"

#include <algorithm>

namespace sim::storage {

static constexpr std::uint64_t kSector = 512;

Task<Result<>> copy_file(Storage& from, Storage& to) {
  constexpr std::uint64_t kBufferBytes = 65536;
  std::vector<std::byte> buffer;
  CO_TRY_OK(co_await to.truncate(0));
  CO_TRY_OK(co_await to.truncate(from.size()));
  for (std::uint64_t at = 0; at < from.size();) {
    const Extent extent = from.extent_at(at);
    const std::uint64_t part = extent.data ? std::min(extent.length, kBufferBytes) : extent.length;
    if (extent.data) {
      buffer.resize(part);
      CO_TRY_OK(co_await from.read(at, buffer));
      CO_TRY_OK(co_await to.write(at, buffer));
    }
    at += part;
  }
  co_return ok();
}

Task<Result<>> PowerCut::begin() {
  if (flushed_) co_return ok();
  auto copy = std::make_shared<MemoryFile>();
  CO_TRY_OK(co_await copy_file(next(), *copy));
  flushed_ = std::move(copy);
  co_return ok();
}

void PowerCut::apply(const Change& change, MemoryFile& file) {
  switch (change.kind) {
    case Change::Kind::write:
      return file.write_now(change.offset, change.data);
    case Change::Kind::zero:
      return file.write_zeroes_now(change.offset, change.length);
    case Change::Kind::discard:
      return file.discard_now(change.offset, change.length);
    case Change::Kind::truncate:
      return file.truncate_now(change.offset);
  }
}

// Each sector of the change is there or not, as a coin falls.
void PowerCut::apply_torn(const Change& change, MemoryFile& file, Rng& rng) {
  if (change.kind == Change::Kind::truncate) {
    if (rng.chance({1, 2})) apply(change, file);
    return;
  }
  const std::uint64_t end = change.offset + change.length;
  for (std::uint64_t at = change.offset; at < end;) {
    const std::uint64_t part = std::min(kSector - at % kSector, end - at);
    if (rng.chance({1, 2})) {
      Change sector{.kind = change.kind, .offset = at, .length = part};
      if (change.kind == Change::Kind::write) {
        const auto first = change.data.begin() + static_cast<std::ptrdiff_t>(at - change.offset);
        sector.data.assign(first, first + static_cast<std::ptrdiff_t>(part));
      }
      apply(sector, file);
    }
    at += part;
  }
}

Task<Result<std::shared_ptr<MemoryFile>>> PowerCut::after_cut(const Kept& kept) {
  CO_TRY_OK(co_await begin());
  auto file = std::make_shared<MemoryFile>();
  CO_TRY_OK(co_await copy_file(*flushed_, *file));
  for (std::size_t i = 0; i < changes_.size(); ++i)
    if (kept(i)) apply(changes_[i], *file);
  co_return file;
}

Task<Result<std::shared_ptr<MemoryFile>>> PowerCut::after_cut(Rng& rng) {
  CO_TRY_OK(co_await begin());
  auto file = std::make_shared<MemoryFile>();
  CO_TRY_OK(co_await copy_file(*flushed_, *file));
  for (const Change& change : changes_) {
    const std::uint64_t fate = rng.below(3);
    if (fate == 0) apply(change, *file);
    if (fate == 1) apply_torn(change, *file, rng);
  }
  co_return file;
}

Task<Result<>> PowerCut::cut(Rng& rng) {
  CO_TRY(const auto found, co_await after_cut(rng));
  CO_TRY_OK(co_await copy_file(*found, next()));
  flushed_ = found;
  changes_.clear();
  co_return ok();
}

Task<Result<>> PowerCut::write(std::uint64_t offset, Bytes from) {
  CO_TRY_OK(co_await begin());
  CO_TRY_OK(co_await next().write(offset, from));
  changes_.push_back({.kind = Change::Kind::write,
                      .offset = offset,
                      .length = from.size(),
                      .data = {from.begin(), from.end()}});
  co_return ok();
}

Task<Result<>> PowerCut::write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) {
  CO_TRY_OK(co_await begin());
  CO_TRY_OK(co_await next().write_zeroes(offset, length, unmap));
  changes_.push_back({.kind = Change::Kind::zero, .offset = offset, .length = length});
  co_return ok();
}

Task<Result<>> PowerCut::discard(std::uint64_t offset, std::uint64_t length) {
  CO_TRY_OK(co_await begin());
  CO_TRY_OK(co_await next().discard(offset, length));
  length = offset < size() ? std::min(length, size() - offset) : 0;
  changes_.push_back({.kind = Change::Kind::discard, .offset = offset, .length = length});
  co_return ok();
}

Task<Result<>> PowerCut::truncate(std::uint64_t size) {
  CO_TRY_OK(co_await begin());
  CO_TRY_OK(co_await next().truncate(size));
  changes_.push_back({.kind = Change::Kind::truncate, .offset = size});
  co_return ok();
}

Task<Result<>> PowerCut::flush() {
  if (before_flush_) before_flush_();
  CO_TRY_OK(co_await next().flush());
  for (const Change& change : changes_) apply(change, *flushed_);
  changes_.clear();
  co_return ok();
}

}  // namespace sim::storage
