// Internal snapshots: made, gone back to, and deleted, in QEMU's order and with its bytes.
//
// A count and the COPIED flag of the entry beside it cannot be changed at once.  While they are,
// version 3 images are marked dirty: after a power cut then, opening the image for writing sets
// them right.  Nothing that a table of the file still shows is ever freed before.

#include "sim/qcow2/snapshot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

const Snapshot* Image::find_snapshot(std::string_view id_or_name) const {
  auto found = std::ranges::find(snapshots_, id_or_name, &Snapshot::id);
  if (found == snapshots_.end()) found = std::ranges::find(snapshots_, id_or_name, &Snapshot::name);
  return found == snapshots_.end() ? nullptr : &*found;
}

namespace {

// One more than the highest that there is.
std::string next_id(const std::vector<Snapshot>& snapshots) {
  std::uint64_t highest = 0;
  for (const Snapshot& snapshot : snapshots) {
    std::uint64_t id = 0;
    for (const char c : snapshot.id) {
      if (c < '0' || c > '9' || id > UINT32_MAX) break;
      id = id * 10 + static_cast<std::uint64_t>(c - '0');
    }
    highest = std::max(highest, id);
  }
  return std::to_string(highest + 1);
}

Result<> check_snapshot_l1(Geometry geometry, const Snapshot& snapshot) {
  if (snapshot.l1_size > format::kL1BytesMax / format::kEntryBytes)
    return os_error(EFBIG, "Snapshot L1 table too large");
  if (geometry.within(snapshot.l1_table_offset) != 0 ||
      snapshot.l1_table_offset.value > INT64_MAX - snapshot.l1_size * format::kEntryBytes)
    return os_error(EINVAL, "Snapshot L1 table offset invalid");
  return ok();
}

}  // namespace

Task<Result<>> Image::store_features(std::uint64_t features) {
  std::array<std::byte, 8> field{};
  store_be(MutableBytes(field), 0, features);
  CO_TRY_OK(co_await tables_.flush());
  CO_TRY_OK(co_await file_->write(format::at::incompatible_features, field));
  co_return co_await file_->flush();
}

// Runs `change` while the file says that counts may be wrong.  After a failure that left them half
// changed it stays said, whatever follows, until the image is opened again.
Task<Result<>> Image::while_dirty(Task<Result<>> change) {
  const bool marked = header_.version >= 3 && !header_.is_dirty();
  if (marked)
    CO_TRY_OK(co_await store_features(header_.incompatible_features | format::kIncompatibleDirty));
  half_changed_ = false;
  auto done = co_await std::move(change);
  if (!done && half_changed_ && header_.version >= 3) {
    header_.incompatible_features |= format::kIncompatibleDirty;
    stays_dirty_ = true;
  } else if (marked) {
    auto cleared = co_await store_features(header_.incompatible_features);
    if (done) done = std::move(cleared);
  }
  auto learned = co_await learn_metadata();
  if (done) done = std::move(learned);
  co_return done;
}

Task<Result<>> Image::create_snapshot(NewSnapshot snapshot) {
  CO_TRY_OK(check_change({0}, 0));
  if (header_.has_data_file()) co_return os_error(ENOTSUP);
  if (snapshots_.size() >= format::kSnapshotsMax) co_return os_error(EFBIG);
  const auto held = co_await lock_landed({0}, INT64_MAX);
  co_return co_await while_dirty(take_snapshot(std::move(snapshot)));
}

Task<Result<>> Image::take_snapshot(NewSnapshot wanted) {
  Snapshot snapshot{.l1_size = header_.l1_size,
                    .id = next_id(snapshots_),
                    .name = std::move(wanted.name),
                    .date_seconds = wanted.date_seconds,
                    .date_nanoseconds = wanted.date_nanoseconds,
                    .vm_clock_ns = wanted.vm_clock_ns,
                    .vm_state_bytes = wanted.vm_state_bytes,
                    .size = size_,
                    .icount = wanted.icount};
  snapshot.name.resize(std::min<std::size_t>(snapshot.name.size(), UINT16_MAX));
  CO_TRY(std::vector<std::uint64_t> l1, co_await read_l1(this->l1()));
  const std::uint64_t clusters = geometry_.clusters_for(l1.size() * format::kEntryBytes);
  HostCluster made{0};
  if (clusters > 0) {
    CO_TRY(made, co_await refcounts_.allocate(clusters));
    snapshot.l1_table_offset = geometry_.start_of(made);
    CO_TRY_OK(co_await write_l1(snapshot.l1_table_offset, l1));
  }
  half_changed_ = true;
  if (auto shared = co_await share_tree(l1, Share::raise); !shared) {
    if (clusters > 0) CO_TRY_OK(co_await refcounts_.release(made, clusters, false));
    CO_TRY_OK(co_await tables_.flush());
    co_return shared;
  }
  CO_TRY_OK(co_await put_active(l1));
  half_changed_ = false;
  // From here on a failure leaks: the file may name the new table all the same.
  snapshots_.push_back(std::move(snapshot));
  if (auto stored = co_await replace_snapshot_table(); !stored) {
    snapshots_.pop_back();
    co_return stored;
  }
  co_return co_await drop_vm_state(wanted.vm_state_bytes);
}

// Brings the COPIED flags of the active tree up to date and stores its L1 table.
Task<Result<>> Image::put_active(std::vector<std::uint64_t>& l1) {
  const std::vector<std::uint64_t> before = l1;
  CO_TRY_OK(co_await refresh_copied(l1));
  if (l1 != before) CO_TRY_OK(co_await write_l1(header_.l1_table_offset, l1));
  co_return ok();
}

Task<Result<>> Image::replace_snapshot_table() {
  CO_TRY(const HostOffset old,
         co_await store_snapshots(*file_, tables_, refcounts_, header_, snapshots_, size_));
  const std::uint64_t old_bytes = std::exchange(snapshot_table_bytes_, 0);
  CO_TRY(const std::vector<std::byte> now, serialise_snapshots(snapshots_, size_));
  snapshot_table_bytes_ = now.size();
  learn_areas();
  if (old_bytes != 0) {
    auto released = co_await refcounts_.release(geometry_.cluster_of(old),
                                                geometry_.clusters_for(old_bytes), true);
    // A count that is 0 already is damage of before; the new table is in place all the same.
    if (!released && released.error().number != EINVAL) co_return released;
  }
  co_return co_await tables_.flush();
}

// The snapshot has the VM state now; in the active tree it would only be copied again and again.
Task<Result<>> Image::drop_vm_state(std::uint64_t bytes) {
  if (bytes == 0) co_return ok();
  CO_TRY_OK(co_await discard_clusters(geometry_.cluster_of(GuestOffset{vm_state_start()}),
                                      geometry_.clusters_for(bytes)));
  co_return co_await tables_.flush();
}

Task<Result<>> Image::delete_snapshot(std::string name) {
  CO_TRY_OK(check_change({0}, 0));
  const Snapshot* const found = find_snapshot(name);
  if (found == nullptr) co_return os_error(ENOENT, "snapshot not found");
  CO_TRY_OK(check_snapshot_l1(geometry_, *found));
  const auto held = co_await lock_landed({0}, INT64_MAX);
  co_return co_await while_dirty(
      drop_snapshot(static_cast<std::size_t>(found - snapshots_.data())));
}

Task<Result<>> Image::drop_snapshot(std::size_t index) {
  const auto place = snapshots_.begin() + static_cast<std::ptrdiff_t>(index);
  const Snapshot gone = std::move(*place);
  snapshots_.erase(place);
  if (auto stored = co_await replace_snapshot_table(); !stored) {
    snapshots_.insert(snapshots_.begin() + static_cast<std::ptrdiff_t>(index), gone);
    co_return stored;
  }
  half_changed_ = true;
  CO_TRY(std::vector<std::uint64_t> l1, co_await read_l1({gone.l1_table_offset, gone.l1_size}));
  CO_TRY_OK(co_await share_tree(l1, Share::lower));
  CO_TRY_OK(co_await refresh_copied(l1));  // of tables that other snapshots share
  const std::uint64_t clusters = geometry_.clusters_for(l1.size() * format::kEntryBytes);
  if (clusters > 0)
    CO_TRY_OK(
        co_await refcounts_.release(geometry_.cluster_of(gone.l1_table_offset), clusters, true));
  CO_TRY(l1, co_await read_l1(this->l1()));
  CO_TRY_OK(co_await put_active(l1));
  co_return co_await tables_.flush();
}

Task<Result<>> Image::apply_snapshot(std::string id_or_name) {
  CO_TRY_OK(check_change({0}, 0));
  if (!bitmaps_.empty())
    co_return Error{ErrorClass::generic, "Device has active dirty bitmaps", EBUSY};
  const Snapshot* const found = find_snapshot(id_or_name);
  if (found == nullptr) co_return os_error(ENOENT, "Failed to load snapshot");
  CO_TRY_OK(check_snapshot_l1(geometry_, *found));
  const std::uint64_t size = found->size.value_or(size_);
  const L1 source{found->l1_table_offset, found->l1_size};
  if (size != size_) CO_TRY_OK(co_await resize(size, Preallocation::off));
  const auto held = co_await lock_landed({0}, INT64_MAX);
  co_return co_await while_dirty(go_to(source));
}

Task<Result<>> Image::go_to(L1 source) {
  CO_TRY_OK(co_await grow_l1(source.entries));
  CO_TRY(std::vector<std::uint64_t> next, co_await read_l1(source));
  const std::vector<std::uint64_t> stored = next;
  half_changed_ = true;
  CO_TRY_OK(co_await share_tree(next, Share::raise));
  std::vector<std::uint64_t> flags = next;
  CO_TRY_OK(co_await refresh_copied(flags));
  if (flags != stored) CO_TRY_OK(co_await write_l1(source.offset, flags));

  CO_TRY(std::vector<std::uint64_t> old, co_await read_l1(this->l1()));
  next.resize(old.size());
  CO_TRY_OK(co_await write_l1(header_.l1_table_offset, next));
  CO_TRY_OK(co_await share_tree(old, Share::lower));
  CO_TRY_OK(co_await refresh_copied(old));  // of tables that snapshots share
  CO_TRY_OK(co_await put_active(next));
  co_return co_await tables_.flush();
}

// QEMU: behind the disk, where the first L1 entry begins that the disk does not need.
std::uint64_t Image::vm_state_start() const {
  return geometry_.l1_entries_for(size_) * geometry_.l1_span();
}

Task<Result<>> Image::read_vm_state(std::uint64_t at, MutableBytes into) {
  if (at > INT64_MAX || into.size() > INT64_MAX - at) co_return os_error(EIO);
  if (observed()) co_await tables_.tell("vmstate_load");
  co_return co_await read_at({vm_state_start() + at}, into);
}

Task<Result<>> Image::write_vm_state(std::uint64_t at, Bytes from) {
  CO_TRY_OK(check_change({0}, 0));
  const auto end = checked_add(vm_state_start() + at, from.size());
  if (observed()) co_await tables_.tell("vmstate_save");
  if (at > INT64_MAX || !end) co_return os_error(EFBIG);
  {
    const auto held = co_await lock_.lock();
    CO_TRY_OK(co_await grow_l1(geometry_.l1_entries_for(*end)));
  }
  co_return co_await write_at({vm_state_start() + at}, from);
}

}  // namespace sim::qcow2
