// The mapping tables: L1 and L2 entries, read and changed through Tables.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "sim/base/check.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

// What makes an entry impossible, in QEMU's words; empty: nothing.
static std::string fault_of(const L2Format& rules, GuestOffset cluster, L2Entry entry) {
  const auto at = [&](std::string_view what) {
    return fmt::format("{} (guest offset: {:#x})", what, cluster.value);
  };
  if (entry.compressed())
    return rules.data_file ? at("Compressed cluster entry found in image with external data file")
                           : std::string();
  if (rules.geometry.within(entry.host()) != 0)
    return at(fmt::format("Cluster allocation offset {:#x} unaligned", entry.host().value));
  if (rules.geometry.extended_l2) {
    const std::uint64_t zeroes = entry.bitmap >> format::kSubclusters;
    const std::uint64_t stored = entry.bitmap & UINT32_MAX;
    if ((zeroes & stored) != 0 || (stored != 0 && !rules.placed(entry)))
      return at("Invalid cluster entry found");
  } else if ((entry.word & format::kZero) != 0 && !rules.zero_flag) {
    return at("Zero cluster entry found in pre-v3 image");
  }
  if (rules.data_file && rules.placed(entry) && entry.host().value != cluster.value)
    return at(
        fmt::format("External data file host cluster offset {:#x} does not match guest "
                    "cluster offset",
                    entry.host().value));
  return {};
}

Result<> Image::check_entry(GuestCluster cluster, L2Entry entry) {
  std::string fault = fault_of(format_, geometry_.start_of(cluster), entry);
  if (fault.empty()) return ok();
  return tables_.metadata().report(std::move(fault));
}

HostOffset Image::entry_place(HostOffset table, GuestCluster cluster) const {
  return table + geometry_.l2_index(cluster) * geometry_.l2_entry_bytes();
}

L2Entry Image::load_entry(const Tables::Slice& slice, GuestCluster cluster) const {
  const std::uint64_t byte =
      geometry_.l2_index(cluster) * geometry_.l2_entry_bytes() & (tables_.slice_bytes() - 1);
  L2Entry entry{.word = load_be<std::uint64_t>(slice.bytes, byte)};
  if (geometry_.extended_l2)
    entry.bitmap = load_be<std::uint64_t>(slice.bytes, byte + format::kEntryBytes);
  return entry;
}

void Image::store_entry(Tables::Slice& slice, GuestCluster cluster, L2Entry entry) {
  const std::uint64_t byte =
      geometry_.l2_index(cluster) * geometry_.l2_entry_bytes() & (tables_.slice_bytes() - 1);
  store_be(MutableBytes(slice.bytes), byte, entry.word);
  if (geometry_.extended_l2)
    store_be(MutableBytes(slice.bytes), byte + format::kEntryBytes, entry.bitmap);
  tables_.changed(slice, Tables::Kind::l2, byte, geometry_.l2_entry_bytes());
}

// The table that an L1 entry names.
static Result<HostOffset> l2_offset(Geometry geometry, Metadata& metadata, std::uint64_t l1_entry,
                                    std::uint64_t l1_index) {
  const HostOffset table{l1_entry & format::kOffsetMask};
  if (geometry.within(table) != 0)
    return metadata.report(
        fmt::format("L2 table offset {:#x} unaligned (L1 index: {:#x})", table.value, l1_index));
  return table;
}

Tables::Slice* Image::slice_now(GuestCluster cluster, bool own) {
  const std::uint64_t index = geometry_.l1_index(cluster);
  if (index >= l1().entries) return nullptr;
  const HostOffset place = l1().offset + index * format::kEntryBytes;
  const Tables::Slice* const top = tables_.find(place);
  if (top == nullptr) return nullptr;
  const auto l1_entry = load_be<std::uint64_t>(top->bytes, place.value - top->start);
  const HostOffset table{l1_entry & format::kOffsetMask};
  if (table.value == 0 || geometry_.within(table) != 0) return nullptr;
  if (own && (l1_entry & format::kCopied) == 0) return nullptr;
  return tables_.find(entry_place(table, cluster));
}

// QEMU: what the L1 table has no entry for is unallocated.
Task<Result<HostOffset>> Image::l2_table(GuestCluster cluster) {
  const std::uint64_t index = geometry_.l1_index(cluster);
  if (index >= l1().entries) co_return HostOffset{0};
  const HostOffset place = l1().offset + index * format::kEntryBytes;
  CO_TRY(const std::uint64_t l1_entry, co_await tables_.entry(place, Tables::Kind::l1));
  co_return l2_offset(geometry_, tables_.metadata(), l1_entry, index);
}

// A table that is this image's alone: a new one, or a copy, if need be.
Task<Result<HostOffset>> Image::l2_table_for_update(GuestCluster cluster) {
  const std::uint64_t index = geometry_.l1_index(cluster);
  if (index >= l1().entries)
    co_return os_error(EIO,
                       fmt::format("L1 table at {:#x} has no entry {}", l1().offset.value, index));
  const HostOffset place = l1().offset + index * format::kEntryBytes;
  CO_TRY(const std::uint64_t l1_entry, co_await tables_.entry(place, Tables::Kind::l1));
  CO_TRY(const HostOffset old, l2_offset(geometry_, tables_.metadata(), l1_entry, index));
  if (old.value != 0 && (l1_entry & format::kCopied) != 0) co_return old;
  CO_TRY(const HostOffset table,
         co_await (observed() ? copy_l2_table_observed(old, place) : copy_l2_table(old)));
  if (!observed())
    CO_TRY_OK(co_await tables_.set_entry(place, table.value | format::kCopied, Tables::Kind::l1));
  if (old.value != 0) {
    tables_.metadata().remove_table(Metadata::Kind::l2, geometry_.cluster_of(old));
    CO_TRY_OK(co_await refcounts_.release(geometry_.cluster_of(old), 1, false));
  }
  co_return table;
}

// Allocates a table with the entries of `old`, or none if that is 0.
Task<Result<HostOffset>> Image::copy_l2_table(HostOffset old) {
  CO_TRY(const HostCluster made, co_await refcounts_.allocate(1));
  const HostOffset table = geometry_.start_of(made);
  if (made.value == 0)
    co_return tables_.metadata().report("Preventing invalid allocation of L2 table at offset 0");
  CO_TRY_OK(tables_.metadata().check(made, made + 1));
  CO_TRY_OK(co_await tables_.make_zero(table, 1));
  tables_.metadata().add_table(Metadata::Kind::l2, made);
  if (old.value == 0) co_return table;
  CO_TRY_OK(co_await tables_.write_back());
  std::vector<std::byte> entries(cluster_size());
  CO_TRY_OK(co_await file_->read(old.value, entries));
  CO_TRY_OK(co_await file_->write(table.value, entries));
  co_return table;
}

// The same in QEMU's order: what the new table is counted in, the table and the L1 entry at
// `l1_place` reach the file one after the other; what fails is undone.
Task<Result<HostOffset>> Image::copy_l2_table_observed(HostOffset old, HostOffset l1_place) {
  CO_TRY(const HostCluster made, co_await refcounts_.allocate(1));
  const HostOffset table = geometry_.start_of(made);
  if (made.value == 0)
    co_return tables_.metadata().report("Preventing invalid allocation of L2 table at offset 0");
  CO_TRY_OK(tables_.metadata().check(made, made + 1));
  tables_.metadata().add_table(Metadata::Kind::l2, made);
  Result<> done = co_await fill_l2_table(table, old);
  if (done)
    done = co_await tables_.set_entry(l1_place, table.value | format::kCopied, Tables::Kind::l1);
  if (done) co_return table;
  tables_.metadata().remove_table(Metadata::Kind::l2, made);
  (void)co_await refcounts_.release(made, 1, true);
  co_return std::move(done).error();
}

Task<Result<>> Image::fill_l2_table(HostOffset table, HostOffset old) {
  CO_TRY_OK(co_await tables_.flush_refcounts());
  CO_TRY_OK(co_await tables_.make_table(table, Tables::Kind::l2));
  for (std::uint64_t at = 0; old.value != 0 && at < cluster_size(); at += tables_.slice_bytes()) {
    if (at == 0) co_await tables_.tell("l2_alloc_cow_read");
    CO_TRY(const Tables::Slice* from, co_await tables_.slice(old + at, Tables::Kind::l2));
    Tables::Slice* const to = tables_.find(table + at);
    CHECK(to != nullptr);
    to->bytes = from->bytes;
  }
  co_await tables_.tell("l2_alloc_write");
  co_return co_await tables_.flush_mappings();
}

Task<Result<L2Entry>> Image::entry(GuestCluster cluster) {
  const Tables::Slice* slice = slice_now(cluster, true);
  if (slice == nullptr) {
    CO_TRY(const HostOffset table, co_await l2_table_for_update(cluster));
    CO_TRY(slice, co_await tables_.slice(entry_place(table, cluster), Tables::Kind::l2));
  }
  co_return load_entry(*slice, cluster);
}

Task<Result<>> Image::set_entry(GuestCluster cluster, L2Entry entry) {
  Tables::Slice* slice = slice_now(cluster, true);
  if (slice == nullptr) {
    CO_TRY(const HostOffset table, co_await l2_table_for_update(cluster));
    CO_TRY(slice, co_await tables_.slice(entry_place(table, cluster), Tables::Kind::l2));
  }
  store_entry(*slice, cluster, entry);
  co_return ok();
}

// What the entry says from `at`, in its cluster, up to where the kind changes.
Extent Image::stretch_of(L2Entry entry, GuestOffset at) const {
  const std::uint64_t within = geometry_.within(at);
  const std::uint64_t first = within / geometry_.subcluster_bytes();
  const Extent::Kind kind = format_.kind(entry, first);
  std::uint64_t end = first + 1;
  while (end < geometry_.subclusters() && format_.kind(entry, end) == kind) ++end;
  Extent extent{.kind = kind,
                .length = end * geometry_.subcluster_bytes() - within,
                .host = {},
                .placed = format_.placed(entry)};
  if (extent.placed) extent.host = entry.host() + within;
  return extent;
}

// True if `more`, which begins where the run ends, is of the same kind.
static bool continues(const Extent& run, const Extent& more) {
  return run.kind == more.kind && run.placed == more.placed &&
         run.kind != Extent::Kind::compressed &&
         (!run.placed || more.host == run.host + run.length);
}

Result<bool> Image::map_slice(const Tables::Slice& slice, GuestOffset at, std::uint64_t length,
                              Mapping& found) {
  Extent& run = found.extent;
  const std::uint64_t per_slice = tables_.slice_bytes() / geometry_.l2_entry_bytes();
  const GuestCluster first = geometry_.cluster_of(at);
  const std::uint64_t clusters = per_slice - geometry_.l2_index(first) % per_slice;
  for (GuestCluster cluster = first; cluster.value < first.value + clusters;
       cluster = cluster + 1) {
    const L2Entry entry = load_entry(slice, cluster);
    std::string fault = fault_of(format_, geometry_.start_of(cluster), entry);
    if (!fault.empty()) {
      if (run.length > 0) return false;  // it waits for who reads there
      return tables_.metadata().report(std::move(fault));
    }
    do {
      if (run.length >= length) return false;
      const Extent more = stretch_of(entry, at);
      if (run.length == 0)
        found = {.extent = more, .entry = entry};
      else if (continues(run, more))
        run.length += more.length;
      else
        return false;
      at = at + more.length;
    } while (geometry_.within(at) != 0);
  }
  return true;
}

// How many of the clusters [from, end), which the slice holds, have nothing in their entries, up to
// the first that has.
std::uint64_t Image::count_unused(const Tables::Slice& slice, GuestCluster from,
                                  GuestCluster end) const {
  const std::size_t bytes = geometry_.l2_entry_bytes();
  const std::byte* const start =
      slice.bytes.data() + (geometry_.l2_index(from) * bytes & (tables_.slice_bytes() - 1));
  const std::byte* const stop = start + (end.value - from.value) * bytes;
  const std::byte* at = start;
  for (std::uint64_t word = 0; at < stop; at += sizeof(word)) {
    std::memcpy(&word, at, sizeof(word));
    if (word != 0) break;
  }
  return static_cast<std::uint64_t>(at - start) / bytes;
}

void Image::map_runs(const Tables::Slice& slice, GuestOffset at, std::uint64_t length,
                     std::size_t most, std::vector<Extent>& into) {
  const std::uint64_t per_slice = tables_.slice_bytes() / geometry_.l2_entry_bytes();
  GuestCluster cluster = geometry_.cluster_of(at);
  const GuestCluster end = cluster + (per_slice - geometry_.l2_index(cluster) % per_slice);
  Extent run{};
  std::uint64_t done = 0;  // bytes that were appended
  for (; cluster.value < end.value; cluster = geometry_.cluster_of(at)) {
    const L2Entry entry = load_entry(slice, cluster);
    Extent more = stretch_of(entry, at);
    if (entry == L2Entry{})
      more.length += count_unused(slice, cluster + 1, end) << geometry_.cluster_bits;
    else if (!fault_of(format_, geometry_.start_of(cluster), entry).empty())
      break;
    if (run.length == 0) {
      run = more;
    } else if (continues(run, more)) {
      run.length += more.length;
    } else {
      into.push_back(run);
      done += run.length;
      if (into.size() >= most) return;
      run = more;
    }
    if (done + run.length >= length) {
      run.length = length - done;
      into.push_back(run);
      return;
    }
    at = at + more.length;
  }
}

Task<Result<Image::Mapping>> Image::mapping(GuestOffset at, std::uint64_t length) {
  Mapping found;
  Extent& run = found.extent;
  while (run.length < length) {
    const GuestOffset next = at + run.length;
    const GuestCluster cluster = geometry_.cluster_of(next);
    const Tables::Slice* slice = slice_now(cluster, false);
    if (slice == nullptr) {
      CO_TRY(const HostOffset table, co_await l2_table(cluster));
      if (table.value == 0) {
        const Extent rest{.kind = Extent::Kind::absent,
                          .length = ((geometry_.l2_entries() - geometry_.l2_index(cluster))
                                     << geometry_.cluster_bits) -
                                    geometry_.within(next),
                          .host = {}};
        if (run.length > 0 && !continues(run, rest)) break;
        run.length += rest.length;
        continue;
      }
      CO_TRY(slice, co_await tables_.slice(entry_place(table, cluster), Tables::Kind::l2));
    }
    CO_TRY(const bool more, map_slice(*slice, next, length, found));
    if (!more) break;
  }
  run.length = std::min(run.length, length);
  co_return found;
}

Task<Result<>> Image::release_entry(L2Entry old, bool discard) {
  if (old.compressed()) co_return co_await release_compressed(old.word, discard);
  if (!format_.placed(old)) co_return ok();
  if (!format_.data_file)
    co_return co_await refcounts_.release(geometry_.cluster_of(old.host()), 1, discard);
  // A raw data file must read as the guest does; else giving space back is a favour.
  if (header_.has_raw_data_file()) co_return co_await zero_raw_data(old.host(), cluster_size());
  if (discard) (void)co_await data().discard(old.host().value, cluster_size());
  co_return ok();
}

// A host cluster that an entry goes on to name loses its contents.
Task<Result<>> Image::discard_kept(L2Entry kept) {
  if (pass_discard_request && format_.placed(kept))
    (void)co_await data().discard(kept.host().value, cluster_size());
  co_return ok();
}

}  // namespace sim::qcow2
