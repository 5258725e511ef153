#include "sim/qcow2/tables.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/base/check.h"

namespace sim::qcow2 {

namespace {

const char* name_of(Tables::Kind kind) {
  switch (kind) {
    case Tables::Kind::refcount_block:
      return "Refcount block";
    case Tables::Kind::refcount_table:
      return "Refcount table";
    case Tables::Kind::l2:
      return "L2 table";
    case Tables::Kind::l1:
      return "L1 table";
  }
  return "";
}

Metadata::Kind metadata_kind(Tables::Kind kind) {
  switch (kind) {
    case Tables::Kind::refcount_block:
      return Metadata::Kind::refcount_block;
    case Tables::Kind::refcount_table:
      return Metadata::Kind::refcount_table;
    case Tables::Kind::l2:
      return Metadata::Kind::l2;
    case Tables::Kind::l1:
      break;
  }
  return Metadata::Kind::l1;
}

bool is_dirty(const Tables::Slice& slice) { return slice.dirty_first != slice.dirty_end; }

}  // namespace

Tables::Stage Tables::stage_of(Kind kind) {
  switch (kind) {
    case Kind::l1:
      return Stage::l1;
    case Kind::l2:
      return Stage::l2;
    default:
      return Stage::refcounts;
  }
}

Tables::Tables(storage::Storage& file, Geometry geometry)
    : file_(file),
      geometry_(geometry),
      slice_bytes_(std::min(kSliceBytes, geometry.cluster_bytes())) {}

Tables::Slice*& Tables::bucket(std::uint64_t start) {
  static_assert(kBuckets == 1U << 10);
  return buckets_[(start / slice_bytes_) * 0x9e3779b97f4a7c15 >> 54];
}

Tables::Slice* Tables::find(HostOffset at) {
  const std::uint64_t start = align_down(at.value, slice_bytes_);
  for (Slice* slice = bucket(start); slice != nullptr; slice = slice->next) {
    if (slice->start != start) continue;
    slice->last_used = ++uses_;
    return slice;
  }
  return nullptr;
}

Task<Result<Tables::Slice*>> Tables::slice(HostOffset at, Kind kind) {
  if (Slice* const found = find(at); found != nullptr) co_return found;
  if (slices_.size() >= kCapacity) CO_TRY_OK(co_await make_room());
  if (observed()) {
    CO_TRY_OK(co_await load_table(at, kind));
    co_return find(at);
  }
  const std::uint64_t start = align_down(at.value, slice_bytes_);
  if (refuse_beyond_end_ && start >= file_.size())
    co_return os_error(EIO, fmt::format("{} at offset {:#x} lies beyond the end of the file",
                                        name_of(kind), start));
  auto fresh = std::make_unique_for_overwrite<Slice>();
  fresh->start = start;
  fresh->kind = kind;
  CO_TRY_OK(co_await file_.read(start, MutableBytes(fresh->bytes).first(slice_bytes_)));
  co_return &add_slice(std::move(fresh));
}

Tables::Slice& Tables::add_slice(std::unique_ptr<Slice> fresh) {
  fresh->last_used = ++uses_;
  fresh->dirty_first = fresh->dirty_end = 0;
  Slice*& first = bucket(fresh->start);
  fresh->next = first;
  fresh->index = slices_.size();
  first = fresh.get();
  slices_.push_back(std::move(fresh));
  return *first;
}

void Tables::erase(Slice& slice) {
  Slice** link = &bucket(slice.start);
  while (*link != &slice) link = &(*link)->next;
  *link = slice.next;
  const std::size_t index = slice.index;
  slices_[index].swap(slices_.back());
  slices_[index]->index = index;
  slices_.pop_back();
}

void Tables::changed(Slice& slice, Kind kind, std::uint64_t first, std::uint64_t length) {
  CHECK(first + length <= slice_bytes_);
  const auto begin = static_cast<std::uint32_t>(first);
  const auto end = static_cast<std::uint32_t>(first + length);
  if (is_dirty(slice)) {
    slice.dirty_first = std::min(slice.dirty_first, begin);
    slice.dirty_end = std::max(slice.dirty_end, end);
  } else {
    slice.dirty_first = begin;
    slice.dirty_end = end;
  }
  slice.kind = kind;
}

Task<Result<std::uint64_t>> Tables::entry(HostOffset at, Kind kind) {
  CO_TRY(Slice * found, co_await slice(at, kind));
  co_return load_be<std::uint64_t>(found->bytes, at.value - found->start);
}

Task<Result<>> Tables::set_entry(HostOffset at, std::uint64_t value, Kind kind) {
  if (observed() && (kind == Kind::l1 || kind == Kind::refcount_table))
    co_return co_await store_now(at, value, kind);
  CO_TRY(Slice * found, co_await slice(at, kind));
  store_be(MutableBytes(found->bytes), at.value - found->start, value);
  changed(*found, kind, at.value - found->start, sizeof(value));
  co_return ok();
}

Task<Result<>> Tables::make_zero(HostOffset start, std::uint64_t clusters) {
  forget(start, clusters);
  co_return co_await file_.write_zeroes(start.value, clusters << geometry_.cluster_bits, false);
}

void Tables::forget(HostOffset start, std::uint64_t clusters) {
  const std::uint64_t length = clusters << geometry_.cluster_bits;
  if (length / slice_bytes_ <= slices_.size()) {
    for (std::uint64_t at = 0; at < length; at += slice_bytes_)
      if (Slice* const slice = find(start + at); slice != nullptr) erase(*slice);
    return;
  }
  for (std::size_t i = slices_.size(); i-- > 0;)
    if (slices_[i]->start >= start.value && slices_[i]->start < start.value + length)
      erase(*slices_[i]);
}

Task<Result<>> Tables::require(Order order) {
  if (observed()) {
    if (order == Order::mappings_first) co_await depend(Cache::refcounts);
    co_return ok();
  }
  // Deferred counts may be wrong, but what is given up must not be handed out again while the file
  // still shows it.
  const bool reuse = order_ == Order::mappings_first && order == Order::refcounts_first;
  if (defer_refcounts_) {
    if (reuse) CO_TRY_OK(co_await flush_mappings());
  } else if (order_ != Order::any && order_ != order) {
    CO_TRY_OK(co_await write_back());
  }
  order_ = order;
  co_return ok();
}

Task<Result<>> Tables::write_slice(Slice& slice) {
  const HostCluster cluster = geometry_.cluster_of(HostOffset{slice.start});
  CO_TRY_OK(metadata_.check(cluster, cluster + 1, metadata_kind(slice.kind)));
  const Bytes part =
      Bytes(slice.bytes).subspan(slice.dirty_first, slice.dirty_end - slice.dirty_first);
  CO_TRY_OK(co_await file_.write(slice.start + slice.dirty_first, part));
  slice.dirty_first = slice.dirty_end = 0;
  co_return ok();
}

// Writes the changed parts of all slices of a stage, in the order of the file.
Task<Result<>> Tables::write_stage(Stage stage) {
  std::vector<Slice*> dirty;
  for (const std::unique_ptr<Slice>& slice : slices_)
    if (is_dirty(*slice) && stage_of(slice->kind) == stage) dirty.push_back(slice.get());
  if (dirty.empty()) co_return ok();
  if (unflushed_ || (data_unflushed_ && stage != Stage::refcounts)) {
    CO_TRY_OK(co_await file_.flush());
    data_unflushed_ = false;
  }
  unflushed_ = true;
  std::ranges::sort(dirty, {}, &Slice::start);
  for (Slice* const slice : dirty) CO_TRY_OK(co_await write_slice(*slice));
  co_return ok();
}

Task<Result<>> Tables::write_back() {
  if (observed()) {
    CO_TRY_OK(co_await write_cache(Cache::l2));
    if (!defer_refcounts_) CO_TRY_OK(co_await write_cache(Cache::refcounts));
    co_return ok();
  }
  constexpr std::array<Stage, 3> kUp = {Stage::refcounts, Stage::l2, Stage::l1};
  constexpr std::array<Stage, 3> kDown = {Stage::l2, Stage::l1, Stage::refcounts};
  for (const Stage stage : order_ == Order::mappings_first ? kDown : kUp)
    CO_TRY_OK(co_await write_stage(stage));
  order_ = Order::any;
  co_return ok();
}

Task<Result<>> Tables::flush() {
  CO_TRY_OK(co_await write_back());
  CO_TRY_OK(co_await file_.flush());
  unflushed_ = data_unflushed_ = false;
  co_return ok();
}

Task<Result<>> Tables::flush_mappings() {
  if (observed()) co_return co_await flush_cache(Cache::l2);
  CO_TRY_OK(co_await write_stage(Stage::l2));
  CO_TRY_OK(co_await write_stage(Stage::l1));
  CO_TRY_OK(co_await file_.flush());
  unflushed_ = data_unflushed_ = false;
  co_return ok();
}

// Drops the older half of the slices.
Task<Result<>> Tables::make_room() {
  CO_TRY_OK(co_await write_back());
  std::vector<std::uint64_t> ages;
  ages.reserve(slices_.size());
  for (const std::unique_ptr<Slice>& slice : slices_) ages.push_back(slice->last_used);
  const auto middle = ages.begin() + static_cast<std::ptrdiff_t>(ages.size() / 2);
  std::ranges::nth_element(ages, middle);
  for (std::size_t i = slices_.size(); i-- > 0;)
    if (slices_[i]->last_used < *middle) erase(*slices_[i]);
  co_return ok();
}

}  // namespace sim::qcow2
