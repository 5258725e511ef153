#include "sim/qcow2/tables.h"

#include <algorithm>

#include "sim/base/check.h"

namespace sim::qcow2 {

Tables::Tables(storage::Storage& file, Geometry geometry)
    : file_(file),
      geometry_(geometry),
      slice_bytes_(std::min(kSliceBytes, geometry.cluster_bytes())) {}

Task<Result<Tables::Slice*>> Tables::slice(HostOffset at) {
  const std::uint64_t start = align_down(at.value, slice_bytes_);
  if (const auto found = slices_.find(start); found != slices_.end()) {
    found->second->last_used = ++uses_;
    co_return found->second.get();
  }
  if (slices_.size() >= kCapacity) CO_TRY_OK(co_await make_room());
  auto fresh = std::make_unique_for_overwrite<Slice>();
  fresh->start = start;
  fresh->last_used = ++uses_;
  fresh->dirty_first = fresh->dirty_end = 0;
  CO_TRY_OK(co_await file_.read(start, MutableBytes(fresh->bytes).first(slice_bytes_)));
  co_return slices_.emplace(start, std::move(fresh)).first->second.get();
}

void Tables::changed(Slice& slice, Kind kind, std::uint64_t first, std::uint64_t length) {
  CHECK(first + length <= slice_bytes_);
  const auto begin = static_cast<std::uint32_t>(first);
  const auto end = static_cast<std::uint32_t>(first + length);
  if (slice.dirty_first == slice.dirty_end) {
    slice.dirty_first = begin;
    slice.dirty_end = end;
  } else {
    slice.dirty_first = std::min(slice.dirty_first, begin);
    slice.dirty_end = std::max(slice.dirty_end, end);
  }
  slice.kind = kind;
}

Task<Result<std::uint64_t>> Tables::entry(HostOffset at) {
  CO_TRY(Slice * found, co_await slice(at));
  co_return load_be<std::uint64_t>(found->bytes, at.value - found->start);
}

Task<Result<>> Tables::set_entry(HostOffset at, std::uint64_t value, Kind kind) {
  CO_TRY(Slice * found, co_await slice(at));
  store_be(MutableBytes(found->bytes), at.value - found->start, value);
  changed(*found, kind, at.value - found->start, sizeof(value));
  co_return ok();
}

Task<Result<>> Tables::make_zero(HostOffset start, std::uint64_t clusters) {
  forget(start, clusters);
  const std::uint64_t length = clusters << geometry_.cluster_bits;
  if (start.value >= file_.size()) co_return co_await file_.truncate(start.value + length);
  co_return co_await file_.write_zeroes(start.value, length, false);
}

void Tables::forget(HostOffset start, std::uint64_t clusters) {
  const std::uint64_t end = start.value + (clusters << geometry_.cluster_bits);
  slices_.erase(slices_.lower_bound(start.value), slices_.lower_bound(end));
}

Task<Result<>> Tables::require(Order order) {
  if (order_ != Order::any && order_ != order) CO_TRY_OK(co_await write_back());
  order_ = order;
  co_return ok();
}

bool Tables::any_dirty(Kind kind) const {
  return std::ranges::any_of(slices_, [kind](const auto& item) {
    return item.second->kind == kind && item.second->dirty_first != item.second->dirty_end;
  });
}

// Writes the changed parts of all slices of a kind.
Task<Result<>> Tables::write_kind(Kind kind) {
  for (const auto& [start, slice] : slices_) {
    if (slice->kind != kind || slice->dirty_first == slice->dirty_end) continue;
    const Bytes part =
        Bytes(slice->bytes).subspan(slice->dirty_first, slice->dirty_end - slice->dirty_first);
    CO_TRY_OK(co_await file_.write(start + slice->dirty_first, part));
    slice->dirty_first = slice->dirty_end = 0;
  }
  co_return ok();
}

Task<Result<>> Tables::write_back() {
  constexpr std::array<Kind, 3> kUp = {Kind::refcounts, Kind::l2, Kind::l1};
  constexpr std::array<Kind, 3> kDown = {Kind::l2, Kind::l1, Kind::refcounts};
  for (const Kind kind : order_ == Order::mappings_first ? kDown : kUp) {
    if (!any_dirty(kind)) continue;
    if (unflushed_ || (data_unflushed_ && kind != Kind::refcounts)) {
      CO_TRY_OK(co_await file_.flush());
      data_unflushed_ = false;
    }
    unflushed_ = true;
    CO_TRY_OK(co_await write_kind(kind));
  }
  order_ = Order::any;
  co_return ok();
}

Task<Result<>> Tables::flush() {
  CO_TRY_OK(co_await write_back());
  CO_TRY_OK(co_await file_.flush());
  unflushed_ = data_unflushed_ = false;
  co_return ok();
}

// Drops the older half of the slices.
Task<Result<>> Tables::make_room() {
  CO_TRY_OK(co_await write_back());
  const std::uint64_t keep_from = uses_ - std::min<std::uint64_t>(uses_, kCapacity / 2);
  std::erase_if(slices_, [&](const auto& item) { return item.second->last_used < keep_from; });
  co_return ok();
}

}  // namespace sim::qcow2
