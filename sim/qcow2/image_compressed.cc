// Compressed clusters of an image: read, written, given up.  They are never encrypted (measured on
// 7.2) and never in an external data file.

#include <algorithm>

#include "sim/qcow2/compress.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

Task<Result<>> Image::read_compressed(std::uint64_t word, std::uint64_t within, MutableBytes into) {
  const auto type = static_cast<Compression>(header_.compression_type);
  if (inflated_.word != word || observed()) {
    const CompressedSpan span = compressed_span(geometry_.cluster_bits, word);
    const std::uint64_t writes = inflated_.writes;
    std::vector<std::byte> stored(span.bytes);
    if (observed()) co_await tables_.tell("read_compressed");
    CO_TRY_OK(co_await file_->read(span.at.value, stored));
    if (into.size() == cluster_size()) co_return decompress(type, stored, into);
    std::vector<std::byte> cluster(cluster_size());
    CO_TRY_OK(decompress(type, stored, cluster));
    std::ranges::copy(Bytes(cluster).subspan(within, into.size()), into.begin());
    if (writes != inflated_.writes) co_return ok();
    inflated_.word = word;
    inflated_.bytes = std::move(cluster);
    co_return ok();
  }
  std::ranges::copy(Bytes(inflated_.bytes).subspan(within, into.size()), into.begin());
  co_return ok();
}

Task<Result<>> Image::release_compressed(std::uint64_t word, bool discard) {
  const TouchedClusters touched =
      touched_clusters(geometry_.cluster_bits, compressed_span(geometry_.cluster_bits, word));
  co_return co_await refcounts_.release(touched.first, touched.count, discard);
}

Task<Result<>> Image::write_compressed(GuestOffset at, Bytes from) {
  CO_TRY_OK(check_change(at, from.size()));
  if (header_.has_data_file()) co_return os_error(ENOTSUP);
  if (encrypted()) co_return os_error(EIO);  // it would be stored as plain text; QEMU refuses, too
  if (from.empty()) {
    const std::uint64_t whole = align_up(file_->size(), format::kSector);
    if (whole == file_->size()) co_return ok();
    co_return co_await file_->truncate(whole);
  }
  const GuestOffset end = at + from.size();
  if (geometry_.within(at) != 0 || (geometry_.within(end) != 0 && end.value != size_))
    co_return os_error(EINVAL);
  while (!from.empty()) {
    const Bytes part = from.first(std::min<std::uint64_t>(from.size(), cluster_size()));
    Result<> done = co_await write_compressed_cluster(at, part);
    if (!done) co_return co_await settle(std::move(done));
    from = from.subspan(part.size());
    at = at + part.size();
  }
  co_return ok();
}

// The data is in the file before the entry that shows it.
Task<Result<>> Image::write_compressed_cluster(GuestOffset at, Bytes from) {
  std::vector<std::byte> padded;
  if (from.size() < cluster_size()) {
    padded.assign(from.begin(), from.end());
    padded.resize(cluster_size());
  }
  const auto smaller = compress(static_cast<Compression>(header_.compression_type),
                                padded.empty() ? from : Bytes(padded));
  if (!smaller) co_return co_await write(at, from);

  note_change(at, from.size());
  auto held = std::make_optional(co_await lock_landed(at, from.size()));
  const GuestCluster cluster = geometry_.cluster_of(at);
  CO_TRY(const L2Entry old, co_await entry(cluster));
  if (old.compressed() || format_.placed(old)) co_return os_error(EIO);
  CO_TRY(const HostOffset host, co_await refcounts_.allocate_bytes(smaller->size()));
  const auto word = compressed_word(geometry_.cluster_bits, host, smaller->size());
  if (!word) {
    const auto touched = touched_clusters(geometry_.cluster_bits, {host, smaller->size()});
    CO_TRY_OK(co_await refcounts_.release(touched.first, touched.count, false));
    co_return os_error(EFBIG);
  }
  ++inflated_.writes;
  inflated_.word = 0;
  const Flight flight(*this, at, from.size(), true);
  if (observed()) {  // QEMU: the entry first, whatever becomes of the data
    co_await tables_.tell("l2_update_compressed");
    CO_TRY_OK(co_await set_entry(cluster, {.word = *word}));
    held.reset();
    CO_TRY_OK(may_write(host, smaller->size()));
    co_await tables_.tell("write_compressed");
    co_return co_await file_->write(host.value, *smaller);
  }
  held.reset();
  Result<> stored = may_write(host, smaller->size());
  if (stored) stored = co_await file_->write(host.value, *smaller);
  const auto again = co_await lock_.lock();
  tables_.data_written();
  if (stored) co_return co_await set_entry(cluster, {.word = *word});
  (void)co_await release_compressed(*word, false);  // the first failure is the one to report
  co_return stored;
}

}  // namespace sim::qcow2
