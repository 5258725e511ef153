// Tables as QEMU's caches read and write them, for an image that is observed (tables.h).

#include <algorithm>
#include <vector>

#include "sim/qcow2/format.h"
#include "sim/qcow2/tables.h"

namespace sim::qcow2 {

Task<Result<>> Tables::load(HostOffset start, std::uint64_t bytes, Kind kind) {
  std::vector<std::byte> read(align_up(bytes, slice_bytes_));
  CO_TRY_OK(co_await file_.read(start.value, MutableBytes(read).first(bytes)));
  for (std::uint64_t at = 0; at < read.size(); at += slice_bytes_) {
    if (find(start + at) != nullptr) continue;  // with what is not in the file yet
    auto fresh = std::make_unique_for_overwrite<Slice>();
    fresh->start = start.value + at;
    fresh->kind = kind;
    std::ranges::copy(Bytes(read).subspan(at, slice_bytes_), fresh->bytes.begin());
    add_slice(std::move(fresh));
  }
  co_return ok();
}

Task<Result<>> Tables::load_table(HostOffset at, Kind kind) {
  if (kind == Kind::l2) co_await tell("l2_load");
  co_return co_await load({align_down(at.value, geometry_.cluster_bytes())},
                          geometry_.cluster_bytes(), kind);
}

Task<Result<>> Tables::make_table(HostOffset start, Kind kind) {
  if (!observed()) co_return co_await make_zero(start, 1);
  forget(start, 1);
  for (std::uint64_t at = 0; at < geometry_.cluster_bytes(); at += slice_bytes_) {
    auto fresh = std::make_unique<Slice>();
    fresh->start = start.value + at;
    fresh->kind = kind;
    changed(add_slice(std::move(fresh)), kind, 0, slice_bytes_);
  }
  co_return ok();
}

// An entry that cannot be written stays as it was in the file and in memory.
Task<Result<>> Tables::store_now(HostOffset at, std::uint64_t value, Kind kind) {
  CO_TRY(Slice * found, co_await slice(at, kind));
  co_await tell(kind == Kind::l1 ? "l1_update" : "refblock_alloc_hookup");
  const HostCluster cluster = geometry_.cluster_of(at);
  CO_TRY_OK(
      metadata_.check(cluster, cluster + 1,
                      kind == Kind::l1 ? Metadata::Kind::l1 : Metadata::Kind::refcount_table));
  std::array<std::byte, format::kEntryBytes> entry{};
  store_be(MutableBytes(entry), 0, value);
  CO_TRY_OK(co_await file_.write(at.value, entry));
  CO_TRY_OK(co_await file_.flush());
  found = find(at);
  if (found != nullptr) store_be(MutableBytes(found->bytes), at.value - found->start, value);
  co_return ok();
}

Task<Result<>> Tables::write_cache(Cache cache) {
  const Kind kind = cache == Cache::l2 ? Kind::l2 : Kind::refcount_block;
  std::vector<std::uint64_t> dirty;
  for (const std::unique_ptr<Slice>& slice : slices_)
    if (slice->dirty_first != slice->dirty_end && slice->kind == kind)
      dirty.push_back(slice->start);
  std::ranges::sort(dirty);
  Result<> done = ok();
  for (const std::uint64_t start : dirty) {  // as QEMU: one that fails does not keep the others
    Slice* const slice = find({start});
    if (slice == nullptr || slice->dirty_first == slice->dirty_end) continue;
    Result<> written = co_await write_table(*slice);
    if (done) done = std::move(written);
  }
  co_return done;
}

Task<Result<>> Tables::flush_cache(Cache cache) {
  CO_TRY_OK(co_await write_cache(cache));
  co_return co_await file_.flush();
}

Task<Result<>> Tables::flush_dependency(Cache cache) {
  CO_TRY_OK(co_await flush_cache(other(cache)));
  state(cache) = {};
  co_return ok();
}

// The whole table that the slice belongs to, unless parts of it have been dropped from memory.
Task<Result<>> Tables::write_table(Slice& slice) {
  const Cache cache = slice.kind == Kind::l2 ? Cache::l2 : Cache::refcounts;
  const HostOffset start{align_down(slice.start, geometry_.cluster_bytes())};
  if (state(cache).depends_on_other) {
    CO_TRY_OK(co_await flush_dependency(cache));
  } else if (state(cache).depends_on_flush) {
    CO_TRY_OK(co_await file_.flush());
    state(cache).depends_on_flush = false;
  }
  const HostCluster cluster = geometry_.cluster_of(start);
  CO_TRY_OK(
      metadata_.check(cluster, cluster + 1,
                      cache == Cache::l2 ? Metadata::Kind::l2 : Metadata::Kind::refcount_block));
  co_await tell(cache == Cache::l2 ? "l2_update" : "refblock_update_part");
  std::vector<std::byte> table(geometry_.cluster_bytes());
  std::vector<Slice*> parts;
  for (std::uint64_t at = 0; at < table.size(); at += slice_bytes_) {
    Slice* const part = find(start + at);
    if (part == nullptr) co_return co_await write_slice(slice);
    std::ranges::copy(Bytes(part->bytes).first(slice_bytes_), table.begin() + at);
    parts.push_back(part);
  }
  CO_TRY_OK(co_await file_.write(start.value, table));
  for (Slice* const part : parts) part->dirty_first = part->dirty_end = 0;
  co_return ok();
}

// Never both on each other.  As QEMU, whose callers go on without the dependency when what has to
// go first cannot be written.
Task<void> Tables::depend(Cache cache) {
  if (state(other(cache)).depends_on_other) {
    const Result<> done = co_await flush_dependency(other(cache));
    if (!done) co_return;
  }
  state(cache).depends_on_other = true;
}

Task<void> Tables::observed_link(bool copied) {
  if (copied) state(Cache::l2).depends_on_flush = true;
  if (!defer_refcounts_) co_await depend(Cache::l2);
}

}  // namespace sim::qcow2
