#include "sim/qcow2/refcounts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/base/check.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/stored_count.h"

namespace sim::qcow2 {

Refcounts::Refcounts(storage::Storage& file, Tables& tables, Header& header)
    : file_(file),
      tables_(tables),
      header_(header),
      geometry_(header.geometry()),
      order_(header.refcount_order) {}

std::uint64_t Refcounts::table_entries() const {
  return header_.refcount_table_clusters * geometry_.cluster_bytes() / format::kEntryBytes;
}

Task<Result<HostOffset>> Refcounts::block_of(HostCluster cluster) {
  const std::uint64_t index = cluster.value / per_block();
  if (index >= table_entries()) co_return HostOffset{0};
  CO_TRY(const std::uint64_t entry,
         co_await tables_.entry(header_.refcount_table_offset + index * format::kEntryBytes,
                                Tables::Kind::refcount_table));
  const HostOffset block{entry & format::kBlockOffsetMask};
  if (geometry_.within(block) != 0 || block.value >= format::kHostOffsetEnd)
    co_return tables_.metadata().report(
        fmt::format("Refblock offset {:#x} unaligned (reftable index: {:#x})", block.value, index));
  co_return block;
}

Task<Result<Refcounts::Place>> Refcounts::place_of(HostOffset block, HostCluster cluster) {
  const std::uint64_t index = cluster.value % per_block();
  const std::uint64_t per_slice = (tables_.slice_bytes() * 8) >> order_;
  const std::uint64_t slice = index / per_slice;
  CO_TRY(Tables::Slice * found, co_await tables_.slice(block + slice * tables_.slice_bytes(),
                                                       Tables::Kind::refcount_block));
  co_return Place{found, index % per_slice};
}

std::uint64_t Refcounts::load(const Place& place) const {
  return load_count(place.slice->bytes, place.index, order_);
}

void Refcounts::store(const Place& place, std::uint64_t count) {
  store_count(place.slice->bytes, place.index, order_, count);
  const std::uint64_t bit = place.index << order_;
  tables_.changed(*place.slice, Tables::Kind::refcount_block, bit / 8,
                  std::max<std::uint64_t>((std::uint64_t{1} << order_) / 8, 1));
}

Task<Result<std::uint64_t>> Refcounts::count(HostCluster cluster) {
  CO_TRY(const HostOffset block, co_await block_of(cluster));
  if (block.value == 0) co_return 0U;
  CO_TRY(const Place place, co_await place_of(block, cluster));
  co_return load(place);
}

// The first run of free clusters from the cursor on, which moves behind it.  Counts nothing.
Task<Result<HostCluster>> Refcounts::find_run(std::uint64_t clusters) {
  std::uint64_t run = 0;
  while (run < clusters) {
    CO_TRY(const HostOffset block, co_await block_of({cursor_}));
    if (block.value == 0) {
      const std::uint64_t step = std::min(clusters - run, per_block() - cursor_ % per_block());
      run += step;
      cursor_ += step;
      continue;
    }
    CO_TRY(Place place, co_await place_of(block, {cursor_}));
    const std::uint64_t per_slice = (tables_.slice_bytes() * 8) >> order_;
    for (; run < clusters && place.index < per_slice; ++place.index, ++cursor_)
      run = load(place) == 0 ? run + 1 : 0;
  }
  if (cursor_ > format::kHostOffsetEnd >> geometry_.cluster_bits) co_return os_error(EFBIG);
  co_return HostCluster{cursor_ - clusters};
}

// Changes the counts from `place` on, at most `most` of them and none beyond its slice.  Returns
// how many; the first that cannot be changed (it is 0, or as high as it can be) ends it.
std::uint64_t Refcounts::change_some(Place place, HostCluster cluster, std::uint64_t most,
                                     Change change) {
  const std::uint64_t limit = count_limit(order_);
  const std::uint64_t per_slice = (tables_.slice_bytes() * 8) >> order_;
  std::uint64_t done = 0;
  for (; done < most && place.index < per_slice; ++done, ++place.index) {
    const std::uint64_t before = load(place);
    if (before == (change == Change::raise ? limit : 0)) break;
    const std::uint64_t after = change == Change::raise ? before + 1 : before - 1;
    store(place, after);
    if (before == 0 && cluster + done == geometry_.cluster_of(free_byte_)) free_byte_ = {};
    if (after == 0) cursor_ = std::min(cursor_, cluster.value + done);
  }
  return done;
}

// Before the counts of a cluster are changed; `block` is the one that was told of last.
Task<void> Refcounts::tell_load(HostCluster cluster, std::optional<std::uint64_t>& block) {
  if (!tables_.observed() || block == cluster.value / per_block()) co_return;
  block = cluster.value / per_block();
  co_await tables_.tell("refblock_alloc");
  const auto found = co_await block_of(cluster);
  if (found && found->value != 0) co_await tables_.tell("refblock_load");
}

Task<Result<>> Refcounts::undo(HostCluster first, std::uint64_t clusters, Change done) {
  const Change back = done == Change::raise ? Change::lower : Change::raise;
  std::optional<std::uint64_t> told;
  for (std::uint64_t i = 0; i < clusters;) {
    if (tables_.observed()) co_await tell_load(first + i, told);
    CO_TRY(const HostOffset block, co_await block_of(first + i));
    CO_TRY(const Place place, co_await place_of(block, first + i));
    const std::uint64_t some = change_some(place, first + i, clusters - i, back);
    if (some == 0) co_return os_error(EINVAL);
    i += some;
  }
  co_return ok();
}

Task<Result<Refcounts::Outcome>> Refcounts::change(HostCluster first, std::uint64_t clusters,
                                                   Change change) {
  CO_TRY_OK(co_await tables_.require(change == Change::raise ? Tables::Order::refcounts_first
                                                             : Tables::Order::mappings_first));
  std::optional<std::uint64_t> told;
  for (std::uint64_t i = 0; i < clusters;) {
    const HostCluster cluster = first + i;
    if (tables_.observed()) co_await tell_load(cluster, told);
    CO_TRY(const HostOffset block, co_await block_of(cluster));
    Result<> made = os_error(EINVAL);
    if (block.value != 0) {
      CO_TRY(const Place place, co_await place_of(block, cluster));
      const std::uint64_t some = change_some(place, cluster, clusters - i, change);
      i += some;
      if (some > 0) continue;
    } else if (change == Change::raise) {
      made = co_await make_block(cluster);
    }
    // Not finished: take back what was done, and let the next search begin here.
    if (change == Change::raise) cursor_ = std::min(cursor_, first.value);
    CO_TRY_OK(co_await undo(first, i, change));
    CO_TRY_OK(made);
    co_return Outcome::search_again;
  }
  co_return Outcome::done;
}

Task<Result<HostCluster>> Refcounts::allocate(std::uint64_t clusters) {
  if (tables_.observed()) co_await tables_.tell("cluster_alloc");
  for (;;) {
    CO_TRY(const HostCluster first, co_await find_run(clusters));
    CO_TRY(const Outcome outcome, co_await change(first, clusters, Change::raise));
    if (outcome == Outcome::done) co_return first;
  }
}

Task<Result<std::uint64_t>> Refcounts::allocate_at(HostCluster first, std::uint64_t clusters) {
  for (;;) {
    std::uint64_t free = 0;
    for (; free < clusters; ++free) {
      CO_TRY(const std::uint64_t used, co_await count(first + free));
      if (used != 0) break;
    }
    if (free == 0) co_return 0U;
    CO_TRY(const Outcome outcome, co_await change(first, free, Change::raise));
    if (outcome == Outcome::done) co_return free;
  }
}

Task<Result<>> Refcounts::raise(HostCluster first, std::uint64_t clusters) {
  for (;;) {
    CO_TRY(const Outcome outcome, co_await change(first, clusters, Change::raise));
    if (outcome == Outcome::done) co_return ok();
  }
}

Task<Result<>> Refcounts::release(HostCluster first, std::uint64_t clusters, bool discard) {
  if (tables_.observed()) co_await tables_.tell("cluster_free");
  CO_TRY_OK(co_await change(first, clusters, Change::lower));
  for (std::uint64_t i = 0; (discard || tables_.observed()) && i < clusters; ++i) {
    CO_TRY(const std::uint64_t used, co_await count(first + i));
    // What was a table is not written back any more.
    if (used == 0 && tables_.observed()) tables_.forget(geometry_.start_of(first + i), 1);
    if (!discard) continue;
    // Giving space back is a favour: a file that refuses has lost nothing.
    if (used == 0)
      (void)co_await file_.discard(geometry_.start_of(first + i).value, geometry_.cluster_bytes());
  }
  co_return ok();
}

// Makes the block that counts `needed`.  It counts itself if it can, else another block does (which
// may have to be made first).  The block is in the file before the table refers to it.
Task<Result<>> Refcounts::make_block(HostCluster needed) {
  if (tables_.observed()) CO_TRY_OK(co_await tables_.flush_mappings());
  CO_TRY(const HostCluster made, co_await find_run(1));
  if (made.value == 0)
    co_return tables_.metadata().report(
        "Preventing invalid allocation of refcount block at offset 0");
  CO_TRY_OK(tables_.metadata().check(made, made + 1));
  const HostOffset block = geometry_.start_of(made);
  if (made.value / per_block() == needed.value / per_block()) {
    CO_TRY_OK(co_await tables_.make_table(block, Tables::Kind::refcount_block));
    CO_TRY(const Place place, co_await place_of(block, made));
    store(place, 1);
  } else {
    CO_TRY(const Outcome outcome, co_await change(made, 1, Change::raise));
    if (outcome == Outcome::search_again) co_return ok();
    if (tables_.observed()) CO_TRY_OK(co_await tables_.flush());
    CO_TRY_OK(co_await tables_.make_table(block, Tables::Kind::refcount_block));
  }
  if (tables_.observed()) co_await tables_.tell("refblock_alloc_write");
  CO_TRY_OK(co_await tables_.flush());
  tables_.metadata().add_table(Metadata::Kind::refcount_block, made);
  const std::uint64_t index = needed.value / per_block();
  if (index >= table_entries()) co_return co_await grow_table(needed, made);
  Result<> done =
      co_await tables_.set_entry(header_.refcount_table_offset + index * format::kEntryBytes,
                                 block.value, Tables::Kind::refcount_table);
  if (!done) {  // nothing refers to it
    tables_.forget(block, 1);
    tables_.metadata().remove_table(Metadata::Kind::refcount_block, made);
  }
  co_return done;
}

}  // namespace sim::qcow2
