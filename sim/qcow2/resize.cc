// A new virtual size.  Steps and their order are QEMU's, so that the file is, too.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "sim/base/check.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

namespace {

Error refusal(std::string text, int number) {
  return {ErrorClass::generic, std::move(text), number};
}

// An error of a step, with what the step was for.
Result<> within(std::string_view step, Result<> result) {
  if (result.ok()) return result;
  return os_error(result.error().number, step);
}

}  // namespace

// QEMU: what its block layer refuses, then what its driver does.
Result<> Image::check_resize(std::uint64_t size, Preallocation preallocation) const {
  if (size > std::uint64_t{INT64_MAX}) return refusal("Image size cannot be negative", EINVAL);
  if (size > format::kVirtualSizeMax)
    return refusal(fmt::format("offset({}) exceeds maximum({})", size, format::kVirtualSizeMax),
                   EFBIG);
  if (size % format::kSector != 0)
    return refusal(fmt::format("The new size must be a multiple of {}", format::kSector), EINVAL);
  if (header_.nb_snapshots > 0 && header_.version < 3)
    return refusal("Can't resize a v2 image which has snapshots", ENOTSUP);
  if (size < size_ && preallocation != Preallocation::off)
    return refusal("Preallocation can't be used for shrinking an image", EINVAL);
  return ok();
}

Task<Result<>> Image::resize(std::uint64_t size, Preallocation preallocation) {
  CO_TRY_OK(check_change({0}, 0));
  CO_TRY_OK(check_resize(size, preallocation));
  CO_TRY_OK(bitmaps_allow_resize());
  // QEMU: all of a raw data file is referred to.
  if (header_.has_raw_data_file() && size > size_ && preallocation == Preallocation::off)
    preallocation = Preallocation::metadata;
  if (size < size_) {
    CO_TRY_OK(co_await shrink(size));
  } else {
    CO_TRY_OK(co_await grow(size, preallocation));
  }
  if (options_.data_file && preallocation == Preallocation::off)
    CO_TRY_OK(co_await options_.data_file->truncate(size));
  if (preallocation != Preallocation::off) {
    const auto held = co_await lock_.lock();
    CO_TRY_OK(
        within("Failed to flush the preallocated area to disk", co_await tables_.write_back()));
  }
  co_return co_await store_size(size);
}

Task<Result<>> Image::store_size(std::uint64_t size) {
  const auto held = co_await lock_.lock();
  CO_TRY_OK(co_await tables_.flush());
  std::array<std::byte, 8> field{};
  store_be(MutableBytes(field), 0, size);
  CO_TRY_OK(
      within("Failed to update the image size", co_await file_->write(format::at::size, field)));
  CO_TRY_OK(co_await file_->flush());
  header_.size = size_ = size;
  resize_bitmaps(size);
  co_return ok();
}

Task<Result<>> Image::grow(std::uint64_t size, Preallocation preallocation) {
  const std::uint64_t old = size_;
  {
    const auto held = co_await lock_.lock();
    CO_TRY_OK(
        within("Failed to grow the L1 table", co_await grow_l1(geometry_.l1_entries_for(size))));
  }
  bool hide_backing = backing_ != nullptr && backing_->size() > old;
  if (preallocation == Preallocation::metadata ||
      (preallocation != Preallocation::off && options_.data_file)) {
    CO_TRY_OK(co_await preallocate_metadata({old}, size, preallocation));
  } else if (preallocation != Preallocation::off) {
    CO_TRY_OK(co_await preallocate_data({old}, size, preallocation, hide_backing));
    hide_backing = false;  // the new clusters are zeroes, and allocated
  }
  if (hide_backing) co_return co_await zero_new(old, size);
  co_return ok();
}

// What is new must read as zeroes where the backing file has data.
Task<Result<>> Image::zero_new(std::uint64_t from, std::uint64_t size) {
  const std::uint64_t first = std::min(align_up(from, geometry_.subcluster_bytes()), size);
  if (first < size) {
    if (!format_.zero_flag) co_return os_error(ENOTSUP, "Failed to zero out new clusters");
    const std::uint64_t old_size = std::exchange(size_, size);
    auto zeroed = co_await write_zeroes({first}, size - first, false);
    size_ = old_size;
    CO_TRY_OK(within("Failed to zero out new clusters", std::move(zeroed)));
  }
  if (first > from) {
    const std::vector<std::byte> zeroes(first - from);
    CO_TRY_OK(within("Failed to zero out the new area", co_await write_at({from}, zeroes)));
  }
  co_return ok();
}

// With lock_ held: an L1 table of at least `entries` entries.  The new one is in the file, and
// counted, before the header refers to it.
Task<Result<>> Image::grow_l1(std::uint64_t entries) {
  if (entries <= header_.l1_size) co_return ok();
  const std::uint64_t bytes = entries * format::kEntryBytes;
  if (entries > format::kL1BytesMax / format::kEntryBytes) co_return os_error(EFBIG);
  CO_TRY_OK(co_await tables_.write_back());
  std::vector<std::byte> table(bytes);
  const std::uint64_t old_bytes = header_.l1_size * format::kEntryBytes;
  CO_TRY_OK(
      co_await file_->read(header_.l1_table_offset.value, MutableBytes(table).first(old_bytes)));
  if (observed()) co_await tables_.tell("l1_grow_alloc_table");
  CO_TRY(const HostCluster made, co_await refcounts_.allocate(geometry_.clusters_for(bytes)));
  const HostOffset offset = geometry_.start_of(made);
  CO_TRY_OK(tables_.metadata().check(made, made + geometry_.clusters_for(bytes)));
  tables_.forget(offset, geometry_.clusters_for(bytes));
  CO_TRY_OK(co_await tables_.write_back());
  if (observed()) co_await tables_.tell("l1_grow_write_table");
  CO_TRY_OK(co_await file_->write(offset.value, table));
  CO_TRY_OK(co_await file_->flush());
  std::array<std::byte, 12> fields{};
  static_assert(format::at::l1_table_offset == format::at::l1_size + 4);
  store_be(MutableBytes(fields), 0, static_cast<std::uint32_t>(entries));
  store_be(MutableBytes(fields), 4, offset.value);
  if (observed()) co_await tables_.tell("l1_grow_activate_table");
  CO_TRY_OK(co_await file_->write(format::at::l1_size, fields));
  CO_TRY_OK(co_await file_->flush());
  const HostOffset old = std::exchange(header_.l1_table_offset, offset);
  header_.l1_size = static_cast<std::uint32_t>(entries);
  tables_.metadata().move_area(Metadata::Kind::l1, made, geometry_.clusters_for(bytes));
  if (old_bytes == 0) co_return ok();
  tables_.forget(old, geometry_.clusters_for(old_bytes));
  co_return co_await refcounts_.release(geometry_.cluster_of(old),
                                        geometry_.clusters_for(old_bytes), false);
}

// What goes over all L2 tables must not be made endless by an L1 table that names the same ones
// again and again.  With lock_ held.
Task<Result<>> Image::check_l2_tables(HostOffset l1, std::uint32_t entries) {
  if (entries <= geometry_.clusters_for(file_->size())) co_return ok();
  std::uint64_t tables = 0;
  for (std::uint32_t i = 0; i < entries; ++i) {
    CO_TRY(const std::uint64_t entry,
           co_await tables_.entry(l1 + i * format::kEntryBytes, Tables::Kind::l1));
    if ((entry & format::kOffsetMask) != 0) ++tables;
  }
  if (tables <= geometry_.clusters_for(file_->size())) co_return ok();
  co_return os_error(EIO, fmt::format("L1 table at {:#x}: {} L2 tables, more than the file has "
                                      "clusters",
                                      l1.value, tables));
}

Task<Result<>> Image::shrink(std::uint64_t size) {
  const std::uint64_t first = align_up(size, cluster_size());
  const std::uint64_t end = std::max(size_, first);
  const auto held = co_await lock_landed({first}, end - first);
  CO_TRY_OK(co_await check_l2_tables(header_.l1_table_offset, header_.l1_size));
  CO_TRY_OK(within("Failed to discard cropped clusters",
                   co_await crop_clusters(geometry_.cluster_of(GuestOffset{first}),
                                          geometry_.clusters_for(end))));
  CO_TRY_OK(within("Failed to reduce the number of L2 tables",
                   co_await crop_l2_tables(geometry_.l1_entries_for(size))));
  CO_TRY_OK(within("Failed to discard unused refblocks", co_await refcounts_.drop_idle_blocks()));
  CO_TRY_OK(co_await tables_.flush());
  CO_TRY(const auto last, co_await refcounts_.last_in_use(geometry_.clusters_for(file_->size())));
  if (!last) co_return os_error(EIO, "Failed to find the last cluster");
  const std::uint64_t length = geometry_.start_of(*last + 1).value;
  // QEMU: a file that stays longer than it must be has lost nothing.
  if (length < file_->size()) (void)co_await file_->truncate(length);
  co_return ok();
}

// Empties the entries of [first, end).  QEMU makes an L2 table where there is none, to free it in
// crop_l2_tables() if it lies wholly beyond the end: nothing is left of it.
Task<Result<>> Image::crop_clusters(GuestCluster first, std::uint64_t end) {
  const std::uint64_t per_table = geometry_.l2_entries();
  for (GuestCluster cluster = first; cluster.value < end;) {
    CO_TRY(const HostOffset table, co_await l2_table(cluster));
    const std::uint64_t stop = std::min(end, align_down(cluster.value, per_table) + per_table);
    if (table.value == 0) {
      if (cluster.value % per_table != 0) CO_TRY_OK(co_await l2_table_for_update(cluster));
      cluster = {stop};
      continue;
    }
    for (; cluster.value < stop; cluster = cluster + 1) {
      CO_TRY(const L2Entry old, co_await entry(cluster));
      if (old == L2Entry{}) continue;
      CO_TRY_OK(co_await set_entry(cluster, {}));
      CO_TRY_OK(co_await release_entry(old, true));
    }
  }
  co_return ok();
}

// Empties the entries of the L1 table from `first` on; the L2 tables are freed when nothing refers
// to them any more.
Task<Result<>> Image::crop_l2_tables(std::uint64_t first) {
  std::vector<HostOffset> freed;
  for (std::uint64_t i = first; i < header_.l1_size; ++i) {
    const HostOffset at = header_.l1_table_offset + i * format::kEntryBytes;
    CO_TRY(const std::uint64_t entry, co_await tables_.entry(at, Tables::Kind::l1));
    if (entry == 0) continue;
    freed.push_back({entry & format::kOffsetMask});
    CO_TRY_OK(co_await tables_.set_entry(at, 0, Tables::Kind::l1));
  }
  CO_TRY_OK(co_await tables_.flush());
  for (auto table = freed.rbegin(); table != freed.rend(); ++table) {
    if (table->value == 0 || geometry_.within(*table) != 0) continue;
    tables_.forget(*table, 1);
    tables_.metadata().remove_table(Metadata::Kind::l2, geometry_.cluster_of(*table));
    CO_TRY_OK(co_await refcounts_.release(geometry_.cluster_of(*table), 1, true));
  }
  co_return ok();
}

}  // namespace sim::qcow2
