// What keeps a broken image from getting worse: where its structures lie, the corrupt bit; and the
// dirty bit.

#include <algorithm>
#include <array>
#include <vector>

#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

// Gives `each` every entry of a table of 8-byte entries that is not 0.
template <class Each>
static Task<Result<>> for_each_entry(storage::Storage& file, HostOffset table,
                                     std::uint64_t entries, Each each) {
  constexpr std::uint64_t kPieceBytes = 4096;  // most are nothing but zeroes
  std::array<std::byte, kPieceBytes> buffer{};
  for (std::uint64_t done = 0; done < entries;) {
    const std::uint64_t some = std::min(entries - done, kPieceBytes / format::kEntryBytes);
    const MutableBytes part = MutableBytes(buffer).first(some * format::kEntryBytes);
    CO_TRY_OK(co_await file.read(table.value + done * format::kEntryBytes, part));
    done += some;
    if (all_zero(part)) continue;
    for (std::uint64_t i = 0; i < some; ++i)
      if (const auto entry = load_be<std::uint64_t>(part, i * format::kEntryBytes); entry != 0)
        each(entry);
  }
  co_return ok();
}

// Must be called when one of these has moved, before anything is allocated where it was.
void Image::learn_areas() {
  Metadata& metadata = tables_.metadata();
  metadata.clear_areas();
  const auto area = [&](Metadata::Kind kind, HostOffset start, std::uint64_t bytes) {
    metadata.add_area(kind, geometry_.cluster_of(start), geometry_.clusters_for(bytes));
  };
  area(Metadata::Kind::header, {0}, cluster_size());
  area(Metadata::Kind::l1, header_.l1_table_offset, header_.l1_size * format::kEntryBytes);
  area(Metadata::Kind::refcount_table, header_.refcount_table_offset,
       header_.refcount_table_clusters * cluster_size());
  area(Metadata::Kind::snapshot_table, header_.snapshots_offset, snapshot_table_bytes_);
  for (const Snapshot& snapshot : snapshots_)
    area(Metadata::Kind::inactive_l1, snapshot.l1_table_offset,
         snapshot.l1_size * format::kEntryBytes);
  if (header_.bitmaps)
    area(Metadata::Kind::bitmap_directory, header_.bitmaps->directory,
         header_.bitmaps->directory_bytes);
}

// Must be called after anything but an Image's own writes has moved tables about.
Task<Result<>> Image::learn_metadata() {
  learn_areas();
  co_return co_await learn_tables();
}

Task<Result<>> Image::learn_tables() {
  std::vector<HostCluster> l2, blocks;
  CO_TRY_OK(co_await tables_.write_back());
  const Geometry geometry = geometry_;
  if (observed()) co_return co_await learn_loaded_tables();
  CO_TRY_OK(co_await for_each_entry(
      *file_, header_.l1_table_offset, header_.l1_size, [&l2, geometry](std::uint64_t entry) {
        l2.push_back(geometry.cluster_of(HostOffset{entry & format::kOffsetMask}));
      }));
  CO_TRY_OK(co_await for_each_entry(
      *file_, header_.refcount_table_offset,
      header_.refcount_table_clusters * cluster_size() / format::kEntryBytes,
      [&blocks, geometry](std::uint64_t entry) {
        blocks.push_back(geometry.cluster_of(HostOffset{entry & format::kBlockOffsetMask}));
      }));
  tables_.metadata().assign_tables(std::move(l2), std::move(blocks));
  co_return ok();
}

// The same without a request: load_tables() has read them.
Task<Result<>> Image::learn_loaded_tables() {
  std::vector<HostCluster> l2, blocks;
  for (std::uint64_t i = 0; i < header_.l1_size; ++i) {
    CO_TRY(const std::uint64_t entry,
           co_await tables_.entry(header_.l1_table_offset + i * format::kEntryBytes,
                                  Tables::Kind::l1));
    if (entry != 0) l2.push_back(geometry_.cluster_of(HostOffset{entry & format::kOffsetMask}));
  }
  const std::uint64_t entries =
      header_.refcount_table_clusters * cluster_size() / format::kEntryBytes;
  for (std::uint64_t i = 0; i < entries; ++i) {
    CO_TRY(const std::uint64_t entry,
           co_await tables_.entry(header_.refcount_table_offset + i * format::kEntryBytes,
                                  Tables::Kind::refcount_table));
    if (entry != 0)
      blocks.push_back(geometry_.cluster_of(HostOffset{entry & format::kBlockOffsetMask}));
  }
  tables_.metadata().assign_tables(std::move(l2), std::move(blocks));
  co_return ok();
}

// As QEMU: the first sign of damage marks the image, and no request is served any more.  A file
// that refuses the mark is no worse off.
Task<Result<>> Image::settle(Result<> done) {
  if (!options_.writable || !tables_.metadata().broken() || header_.is_corrupt()) co_return done;
  header_.incompatible_features |= format::kIncompatibleCorrupt;
  if (header_.version >= 3) (void)co_await store_header();
  co_return done;
}

// spec, "dirty bit": from now on the counts in the file may be wrong.
Task<Result<>> Image::mark_dirty() {
  std::array<std::byte, 8> field{};
  const std::uint64_t features = header_.incompatible_features | format::kIncompatibleDirty;
  store_be(MutableBytes(field), 0, features);
  CO_TRY_OK(co_await file_->write(format::at::incompatible_features, field));
  CO_TRY_OK(co_await file_->flush());
  header_.incompatible_features = features;
  tables_.defer_refcounts(true);
  co_return ok();
}

Task<Result<>> Image::mark_clean() {
  CO_TRY_OK(co_await tables_.flush());
  header_.incompatible_features &= ~format::kIncompatibleDirty;
  auto stored = co_await store_header();
  if (!stored) header_.incompatible_features |= format::kIncompatibleDirty;
  tables_.defer_refcounts(!stored.ok());
  co_return stored;
}

}  // namespace sim::qcow2
