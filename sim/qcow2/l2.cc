// The mapping tables: L1 and L2 entries, read and changed through Tables.

#include <fmt/format.h>

#include <algorithm>

#include "sim/base/check.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

// What an L2 entry says about its cluster; length is the cluster's.
Result<Extent> Image::decode(GuestCluster cluster, L2Entry entry) const {
  using Kind = L2Format::Kind;
  Extent extent{.length = cluster_size(), .host = {}};
  switch (format_.kind(entry, 0)) {
    case Kind::absent:
      return extent;
    case Kind::compressed:
      extent.kind = Extent::Kind::compressed;
      return extent;
    case Kind::zero:
      extent.kind = Extent::Kind::zero;
      break;
    case Kind::data:
      extent.kind = Extent::Kind::data;
      break;
  }
  extent.placed = format_.placed(entry);
  extent.host = entry.host();
  if (geometry_.within(extent.host) != 0)
    return os_error(EIO, fmt::format("Cluster allocation offset {:#x} unaligned (guest offset: "
                                     "{:#x})",
                                     extent.host.value, geometry_.start_of(cluster).value));
  if (extent.kind == Extent::Kind::zero && !format_.zero_flag)
    return os_error(EIO, fmt::format("Zero cluster entry found in pre-v3 image (guest offset: "
                                     "{:#x})",
                                     geometry_.start_of(cluster).value));
  return extent;
}

// The place of an L1 entry.  Disks can end before the guest offset (VM state), and an L1 table of a
// snapshot can be shorter than its disk.
static Result<HostOffset> l1_place(HostOffset l1, std::uint32_t entries, std::uint64_t index) {
  if (index >= entries)
    return os_error(EIO, fmt::format("L1 table at {:#x} has no entry {}", l1.value, index));
  return l1 + index * format::kEntryBytes;
}

static Result<HostOffset> l2_offset(Geometry geometry, std::uint64_t l1_entry,
                                    std::uint64_t l1_index) {
  const HostOffset table{l1_entry & format::kOffsetMask};
  if (geometry.within(table) != 0)
    return os_error(EIO, fmt::format("L2 table offset {:#x} unaligned (L1 index: {:#x})",
                                     table.value, l1_index));
  return table;
}

Task<Result<HostOffset>> Image::l2_table(GuestCluster cluster) {
  const std::uint64_t index = geometry_.l1_index(cluster);
  CO_TRY(const HostOffset place, l1_place(l1().offset, l1().entries, index));
  CO_TRY(const std::uint64_t l1_entry, co_await tables_.entry(place));
  co_return l2_offset(geometry_, l1_entry, index);
}

// A table that is this image's alone: a new one, or a copy, if need be.
Task<Result<HostOffset>> Image::l2_table_for_update(GuestCluster cluster) {
  const std::uint64_t index = geometry_.l1_index(cluster);
  CO_TRY(const HostOffset place, l1_place(l1().offset, l1().entries, index));
  CO_TRY(const std::uint64_t l1_entry, co_await tables_.entry(place));
  CO_TRY(const HostOffset old, l2_offset(geometry_, l1_entry, index));
  if (old.value != 0 && (l1_entry & format::kCopied) != 0) co_return old;
  CO_TRY(const HostOffset table, co_await copy_l2_table(old));
  CO_TRY_OK(co_await tables_.set_entry(place, table.value | format::kCopied, Tables::Kind::l1));
  if (old.value != 0) CO_TRY_OK(co_await refcounts_.release(geometry_.cluster_of(old), 1, false));
  co_return table;
}

// Allocates a table with the entries of `old`, or none if that is 0.
Task<Result<HostOffset>> Image::copy_l2_table(HostOffset old) {
  CO_TRY(const HostCluster made, co_await refcounts_.allocate(1));
  const HostOffset table = geometry_.start_of(made);
  if (made.value == 0)
    co_return os_error(EIO, "Preventing invalid allocation of L2 table at offset 0");
  CO_TRY_OK(co_await tables_.make_zero(table, 1));
  if (old.value == 0) co_return table;
  CO_TRY_OK(co_await tables_.write_back());
  std::vector<std::byte> entries(cluster_size());
  CO_TRY_OK(co_await file_->read(old.value, entries));
  CO_TRY_OK(co_await file_->write(table.value, entries));
  co_return table;
}

Task<Result<L2Entry>> Image::entry(GuestCluster cluster) {
  CO_TRY(const HostOffset table, co_await l2_table_for_update(cluster));
  CO_TRY(const std::uint64_t word,
         co_await tables_.entry(table + geometry_.l2_index(cluster) * format::kEntryBytes));
  co_return L2Entry{.word = word};
}

Task<Result<>> Image::set_entry(GuestCluster cluster, L2Entry entry) {
  CO_TRY(const HostOffset table, co_await l2_table_for_update(cluster));
  co_return co_await tables_.set_entry(table + geometry_.l2_index(cluster) * format::kEntryBytes,
                                       entry.word, Tables::Kind::l2);
}

// The longest run of one kind from `at` on, at most `length` bytes; data is adjacent in the file.
// Compressed clusters come one by one.
Task<Result<Image::Mapping>> Image::mapping(GuestOffset at, std::uint64_t length) {
  Mapping found;
  Extent& run = found.extent;
  // Appends `more`, which begins where the run ends; false if it is of another kind.
  const auto append = [&run](const Extent& more, std::uint64_t skip) {
    if (run.length == 0) {
      run = more;
      if (more.placed) run.host = more.host + skip;
      run.length = more.length - skip;
      return true;
    }
    if (more.kind != run.kind || more.placed != run.placed ||
        more.kind == Extent::Kind::compressed ||
        (more.placed && more.host != run.host + run.length))
      return false;
    run.length += more.length;
    return true;
  };
  while (run.length < length) {
    GuestCluster cluster = geometry_.cluster_of(at + run.length);
    const std::uint64_t skip = geometry_.within(at + run.length);
    CO_TRY(const HostOffset table, co_await l2_table(cluster));
    std::uint64_t index = geometry_.l2_index(cluster);
    if (table.value == 0) {
      const std::uint64_t rest = (geometry_.l2_entries() - index) << geometry_.cluster_bits;
      if (!append({.kind = Extent::Kind::absent, .length = rest, .host = {}}, skip)) break;
      continue;
    }
    CO_TRY(const Tables::Slice* slice, co_await tables_.slice(table + index * format::kEntryBytes));
    std::uint64_t byte = index * format::kEntryBytes % tables_.slice_bytes();
    bool same = true;
    for (std::uint64_t first = skip; same && run.length < length && byte < tables_.slice_bytes();
         byte += format::kEntryBytes, first = 0, cluster = cluster + 1) {
      const L2Entry entry{.word = load_be<std::uint64_t>(slice->bytes, byte)};
      auto extent = decode(cluster, entry);
      if (!extent && run.length == 0) co_return std::move(extent).error();
      if (run.length == 0) found.entry = entry;
      same = extent.ok() && append(*extent, first);  // an error waits for who reads there
    }
    if (!same) break;
  }
  run.length = std::min(run.length, length);
  co_return found;
}

Task<Result<>> Image::release_entry(L2Entry old, bool discard) {
  if (old.compressed()) co_return co_await release_compressed(old.word, discard);
  if (!format_.placed(old)) co_return ok();
  co_return co_await refcounts_.release(geometry_.cluster_of(old.host()), 1, discard);
}

}  // namespace sim::qcow2
