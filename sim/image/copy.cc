#include "sim/image/copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "sim/base/page_buffer.h"
#include "sim/qcow2/format.h"

namespace sim::image {

using qcow2::format::kSector;

namespace {

// What is shorter costs less to copy than to map (measured with a chain of 32 in turns of 64 KiB).
constexpr std::uint64_t kViewMin = 256_KiB;

std::uint64_t whole_sectors(const Layer& layer) { return align_up(layer.size(), kSector); }

Error at_byte(const char* doing, std::uint64_t at, const Error& error) {
  return {error.error_class, fmt::format("error while {} at byte {}: {}", doing, at, error.desc),
          error.number};
}

class Copier {
 public:
  Copier(const std::vector<std::unique_ptr<Layer>>& sources, Layer& target, CopyOptions options)
      : sources_(sources),
        target_(target),
        options_(std::move(options)),
        piece_(options_.compressed ? target.cluster_size() : kCopyBytes),
        buffer_(piece_) {}

  Task<Result<>> run();

 private:
  enum class Kind : unsigned char {
    data,
    zero,
    below,  // the target's backing has it
  };
  // A stretch of the sources of one kind.
  struct Run {
    std::uint64_t end = 0;  // of all sources together
    Kind kind = Kind::data;
    Layer* layer = nullptr;  // that holds the data, if one does alone
    // The file that the data lies in, one byte after the other, the one of `start` at `host`; null:
    // it does not.
    storage::Storage* file = nullptr;
    std::uint64_t start = 0, host = 0;
  };
  // A source, and where it begins.
  struct Place {
    Layer* source;
    std::uint64_t start;
  };

  Place source_at(std::uint64_t at) const;
  Task<Result<Run>> run_at(std::uint64_t at);
  Task<Result<std::uint64_t>> count_data();
  Task<Result<ChainStatus>> status(const Place& place, std::uint64_t at, std::uint64_t length);
  void take_piece(std::uint64_t at, std::uint64_t& end);
  Task<Result<>> fill(std::uint64_t at, MutableBytes into);
  Task<Result<>> read_source(std::uint64_t at, const Place& place, MutableBytes into);
  Task<Result<>> salvage(std::uint64_t at, MutableBytes into);
  Task<Result<>> copy_data(std::uint64_t at, std::uint64_t length);
  Task<Result<bool>> store_view(std::uint64_t at, std::uint64_t length);
  Task<Result<>> store(std::uint64_t at, Bytes from);
  Task<Result<>> store_zeroes(std::uint64_t at, std::uint64_t length);

  const std::vector<std::unique_ptr<Layer>>& sources_;
  Layer& target_;
  CopyOptions options_;
  std::uint64_t piece_;
  PageBuffer buffer_;
  std::uint64_t total_ = 0;
  Run run_;
};

Copier::Place Copier::source_at(std::uint64_t at) const {
  std::uint64_t start = 0;
  auto source = sources_.begin();
  while (at - start >= whole_sectors(**source)) start += whole_sectors(**source++);
  return {source->get(), start};
}

// What `length` bytes at `at` of all sources are, of which one source at least has the first.  With
// salvage, what cannot be told is data.
Task<Result<ChainStatus>> Copier::status(const Place& place, std::uint64_t at,
                                         std::uint64_t length) {
  const Layer* base = options_.over_backing ? place.source->backing() : nullptr;
  const std::uint64_t offset = at - place.start;
  for (;;) {
    if (offset >= place.source->size())  // the rest of the last sector
      co_return ChainStatus{.status = {.length = length, .allocated = true, .zero = true}};
    const std::uint64_t within = std::min(length, place.source->size() - offset);
    auto found = co_await status_above(*place.source, base, offset, within);
    if (found || !options_.salvage) co_return found;
    if (length <= kSector)
      co_return ChainStatus{.status = {.length = length, .allocated = true, .data = true},
                            .layer = place.source};
    length = align_up(length / 4, kSector);
  }
}

Task<Result<Copier::Run>> Copier::run_at(std::uint64_t at) {
  const Place place = source_at(at);
  std::uint64_t length = place.start + whole_sectors(*place.source) - at;
  const std::uint64_t behind = options_.backing_size;
  if (options_.over_backing && at < behind) length = std::min(length, behind - at);
  const auto found = co_await status(place, at, length);
  if (!found)
    co_return Error{ErrorClass::generic,
                    fmt::format("error while reading block status at offset {}: {}",
                                at - place.start, found.error().desc),
                    found.error().number};
  Run run{.end = at + std::min(length, align_up(found->status.length, kSector))};
  // A run that ends within a cluster of the source would make for more reads than need be.
  const std::uint64_t unit = std::max(place.source->cluster_size(), kSector);
  const std::uint64_t tail = (run.end - place.start) % unit;
  if (run.end - at > tail) run.end -= tail;
  if (found->status.zero)
    run.kind = options_.over_backing && at >= behind ? Kind::below : Kind::zero;
  else if (!found->status.allocated)
    run.kind = Kind::below;
  else
    run.layer = found->layer;
  if (run.layer != nullptr && found->status.data && found->status.placed && !options_.salvage) {
    run.file = (run.layer->data_file() ? run.layer->data_file() : run.layer->file()).get();
    run.start = at;
    run.host = found->status.offset;
  }
  co_return run;
}

// How much of the present run is taken at a time.  Compressed clusters are whole: what is less is
// read, whatever it is.
void Copier::take_piece(std::uint64_t at, std::uint64_t& end) {
  end = run_.end;
  if (run_.kind == Kind::data || (run_.kind == Kind::zero && options_.sparse == 0))
    end = std::min(end, at + piece_);
  if (!options_.compressed) return;
  if (end - at >= piece_) {
    end = at + align_down(end - at, piece_);
    return;
  }
  end = std::min(at + piece_, total_);
  run_ = {.end = end, .kind = Kind::data, .layer = nullptr};
}

// Bytes of the sources, over their borders.
Task<Result<>> Copier::fill(std::uint64_t at, MutableBytes into) {
  while (!into.empty()) {
    const Place place = source_at(at);
    const std::uint64_t offset = at - place.start;
    const std::uint64_t part =
        std::min<std::uint64_t>(into.size(), whole_sectors(*place.source) - offset);
    auto got = co_await read_source(at, place, into.first(part));
    if (!got && !options_.salvage) co_return at_byte("reading", at, got.error());
    if (!got) CO_TRY_OK(co_await salvage(at, into.first(part)));
    into = into.subspan(part);
    at += part;
  }
  co_return ok();
}

Task<Result<>> Copier::read_source(std::uint64_t at, const Place& place, MutableBytes into) {
  Layer& layer = run_.layer != nullptr ? *run_.layer : *place.source;
  const std::uint64_t offset = at - place.start;
  const std::uint64_t size = std::max(layer.size(), offset);
  const std::uint64_t present = std::min<std::uint64_t>(into.size(), size - offset);
  std::ranges::fill(into.subspan(present), std::byte{0});
  if (present == 0) co_return ok();
  // The layer has all of it: there is no need to look beneath.
  qcow2::Image* image = run_.layer != nullptr ? layer.qcow2() : nullptr;
  if (image != nullptr) co_return co_await image->read({offset}, into.first(present));
  co_return co_await layer.read(offset, into.first(present));
}

// Sector by sector; what cannot be read becomes zeroes.
Task<Result<>> Copier::salvage(std::uint64_t at, MutableBytes into) {
  for (; !into.empty(); at += kSector, into = into.subspan(kSector)) {
    const Place place = source_at(at);
    const auto got = co_await read_source(at, place, into.first(kSector));
    if (got) continue;
    std::ranges::fill(into.first(kSector), std::byte{0});
    if (options_.warning)
      options_.warning(
          fmt::format("warning: error while reading offset {}: {}", at, got.error().desc));
  }
  co_return ok();
}

Task<Result<>> Copier::copy_data(std::uint64_t at, std::uint64_t length) {
  if (run_.file != nullptr && length >= kViewMin) {
    CO_TRY(const bool stored, co_await store_view(at, length));
    if (stored) co_return ok();
  }
  const MutableBytes part = buffer_.first(length);
  CO_TRY_OK(co_await fill(at, part));
  co_return co_await store(at, part);
}

// Without a copy in between.  False: that cannot be done, or went wrong.
Task<Result<bool>> Copier::store_view(std::uint64_t at, std::uint64_t length) {
  const Bytes view = run_.file->view(run_.host + (at - run_.start), length);
  if (view.empty()) co_return false;
  auto stored = co_await store(at, view);
  // EFAULT: the system could not have the bytes either.
  if (!run_.file->view_held() || (!stored && stored.error().number == EFAULT)) co_return false;
  if (!stored) co_return stored.error();
  co_return true;
}

Task<Result<>> Copier::store(std::uint64_t at, Bytes from) {
  const std::uint64_t unit = std::max(std::bit_floor(options_.sparse), kSector);
  while (!from.empty()) {
    Stretch stretch{from.size(), true};
    if (options_.compressed && options_.sparse > 0)
      stretch.stored = !all_zero(from);
    else if (options_.sparse > 0)
      stretch = leading_stretch(from, at, options_.sparse, unit);
    if (!stretch.stored) {
      CO_TRY_OK(co_await store_zeroes(at, stretch.length));
    } else {
      const Bytes part = from.first(stretch.length);
      auto written =
          options_.compressed ? target_.write_compressed(at, part) : target_.write(at, part);
      if (auto done = co_await std::move(written); !done)
        co_return at_byte("writing", at, done.error());
    }
    at += stretch.length;
    from = from.subspan(stretch.length);
  }
  co_return ok();
}

Task<Result<>> Copier::store_zeroes(std::uint64_t at, std::uint64_t length) {
  if (options_.zero_already) co_return ok();
  auto done = co_await target_.write_zeroes(at, length, options_.sparse > 0);
  if (!done) co_return at_byte("writing", at, done.error());
  co_return ok();
}

Task<Result<std::uint64_t>> Copier::count_data() {
  std::uint64_t data = 0;
  for (std::uint64_t at = 0; at < total_;) {
    CO_TRY(const Run run, co_await run_at(at));
    if (run.kind == Kind::data) data += run.end - at;
    at = run.end;
  }
  co_return data;
}

Task<Result<>> Copier::run() {
  CO_TRY(total_, total_size(sources_));
  std::uint64_t data = 0, copied = 0;
  if (options_.progress) {
    CO_TRY(data, co_await count_data());
  }
  for (std::uint64_t at = 0, end = 0; at < total_; at = end) {
    if (at >= run_.end) {
      CO_TRY(run_, co_await run_at(at));
    }
    take_piece(at, end);
    if (run_.kind == Kind::data) {
      CO_TRY_OK(co_await copy_data(at, end - at));
      copied += end - at;
      if (options_.progress) options_.progress(copied, data);
    } else if (run_.kind == Kind::zero && options_.sparse == 0) {
      const MutableBytes part = buffer_.first(end - at);
      std::ranges::fill(part, std::byte{0});
      CO_TRY_OK(co_await store(at, part));
    } else if (run_.kind == Kind::zero) {
      CO_TRY_OK(co_await store_zeroes(at, end - at));
    }
  }
  co_return ok();
}

}  // namespace

Result<std::uint64_t> total_size(const std::vector<std::unique_ptr<Layer>>& sources) {
  std::uint64_t total = 0;
  for (const auto& source : sources) {
    const auto sum = checked_add(total, whole_sectors(*source));
    if (!sum || *sum > INT64_MAX) return os_error(EFBIG);
    total = *sum;
  }
  return total;
}

Task<Result<>> copy(const std::vector<std::unique_ptr<Layer>>& sources, Layer& target,
                    CopyOptions options) {
  Copier copier(sources, target, std::move(options));
  co_return co_await copier.run();
}

}  // namespace sim::image
