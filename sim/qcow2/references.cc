// The first stage of a check: every reference to a host cluster is counted.

#include <algorithm>
#include <limits>

#include "sim/qcow2/bitmap.h"
#include "sim/qcow2/checker.h"
#include "sim/qcow2/compressed_span.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/stored_count.h"

namespace sim::qcow2 {

namespace {

constexpr std::uint64_t kReservedL1 = 0x7f000000000001ff;  // spec, "L1 table entry"
constexpr std::uint64_t kReservedL2 = 0x3f000000000001fe;  // spec, "Standard Cluster Descriptor"
constexpr std::uint64_t kReservedTable = 0x1ff;            // spec, "Refcount table entry"
constexpr std::uint64_t kReservedBitmap = 0xff000000000001fe;  // spec, "Bitmap table entry"
constexpr std::uint64_t kAllocBits = 0xffffffff;
// What makes an entry anything but data at an aligned offset.
constexpr std::uint64_t kOddL2 = format::kCompressed | kReservedL2 | format::kZero;
constexpr std::uint64_t kPartBytes = 65536;
// From this much work on, holes of the file are asked for before they are read.
constexpr std::uint64_t kProbeHolesAfter = 256_MiB;

}  // namespace

void Checker::refer_cluster(std::uint64_t cluster, std::uint64_t times) {
  if (cluster >= counts_.size()) counts_.grow(cluster + 1);
  const std::uint64_t limit = count_limit(order_);
  const std::uint64_t before = counts_.get(cluster);
  const std::uint64_t room = limit - before;
  if (times > room) {
    say("ERROR: overflow cluster offset={:#x}", cluster << geometry_.cluster_bits);
    if (options_.finding)
      options_.finding(
          "Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a "
          "clean copy if the image cannot be opened for writing");
    result_.corruptions += times - room;
    times = room;
  }
  if (times > 0) counts_.set(cluster, before + times);
  if (before + times > 1) shared_ = true;
}

// Counts `times` references to each cluster of a region.  A last cluster that is in the file only
// in part is usual.
void Checker::refer(std::uint64_t offset, std::uint64_t bytes, std::uint64_t times) {
  if (bytes == 0) return;
  const std::uint64_t cluster = geometry_.cluster_bytes();
  const auto end = checked_add(offset, bytes);
  if (!end || *end >= align_up(file_bytes_, format::kSector) + cluster) {  // QEMU's length of it
    say("ERROR: counting reference for region exceeding the end of the file by one cluster or "
        "more: offset {:#x} size {:#x}",
        offset, bytes);
    result_.corruptions += times;
    return;
  }
  const std::uint64_t last = (*end - 1) >> geometry_.cluster_bits;
  for (std::uint64_t i = offset >> geometry_.cluster_bits; i <= last; ++i) refer_cluster(i, times);
}

Task<Result<>> Checker::count_references() {
  repeated_.clear();
  refer(0, geometry_.cluster_bytes());
  CO_TRY_OK(co_await count_l1(header_.l1_table_offset.value, header_.l1_size, Tree::active));
  CO_TRY_OK(co_await count_snapshots());
  CO_TRY_OK(co_await count_repeated_tables());
  if (header_.crypto) refer(header_.crypto->offset.value, header_.crypto->length);
  CO_TRY_OK(co_await count_bitmaps());
  refer(header_.refcount_table_offset.value, refcount_table_.size() * format::kEntryBytes);
  co_return co_await count_refcount_blocks();
}

Task<Result<>> Checker::count_l1(std::uint64_t at, std::uint64_t entries, Tree tree) {
  refer(at, entries * format::kEntryBytes);
  std::vector<std::byte> part(std::min(kPartBytes, entries * format::kEntryBytes));
  for (std::uint64_t done = 0; done < entries * format::kEntryBytes;) {
    const MutableBytes now =
        MutableBytes(part).first(std::min(part.size(), entries * format::kEntryBytes - done));
    if (auto got = co_await file_.read(at + done, now); !got) {
      say("ERROR: I/O error in check_refcounts_l1");
      ++result_.check_errors;
      co_return std::move(got).error();
    }
    spend(now.size());
    CO_TRY_OK(co_await count_l1_part(now, tree));
    done += now.size();
  }
  co_return ok();
}

Task<Result<>> Checker::count_l1_part(Bytes part, Tree tree) {
  for (std::uint64_t i = 0; i < part.size(); i += format::kEntryBytes) {
    const auto entry = load_be<std::uint64_t>(part, i);
    if (entry == 0) continue;
    if ((entry & kReservedL1) != 0) {
      say("ERROR found L1 entry with reserved bits set: {:x}", entry);
      ++result_.corruptions;
    }
    if ((entry & format::kCopied) == 0) uncopied_ = true;
    const std::uint64_t table = entry & format::kOffsetMask;
    refer(table, geometry_.cluster_bytes());
    if (geometry_.within(HostOffset{table}) != 0) {
      say("ERROR l2_offset={:x}: Table is not cluster aligned; L1 entry corrupted", table);
      ++result_.corruptions;
    }
    CO_TRY_OK(co_await count_l2_table(table, tree));
    CO_TRY_OK(within_bounds());
  }
  co_return ok();
}

// Counts what an L2 table refers to.  Snapshots share tables: one that is reached for the third
// time and gave no finding is only noted, and counted in the end.
Task<Result<>> Checker::count_l2_table(std::uint64_t at, Tree tree) {
  const std::uint64_t cluster = at >> geometry_.cluster_bits;
  const bool again = cluster < counts_.size() && counts_.get(cluster) > 1 && order_ >= 4;
  if (again) {
    if (const auto known = repeated_.find(at); known != repeated_.end()) {
      ++known->second.times;
      if (tree == Tree::active) {
        result_.allocated_clusters += known->second.allocated;
        result_.fragmented_clusters += known->second.fragmented;
        result_.compressed_clusters += known->second.compressed;
      }
      co_return ok();
    }
  }
  const CheckResult before = result_;
  CO_TRY_OK(co_await count_l2(at, tree));
  const bool plain = result_.corruptions == before.corruptions &&
                     result_.corruptions_fixed == before.corruptions_fixed;
  if (again && plain)
    repeated_[at] = {
        .times = 0,
        .allocated = result_.allocated_clusters - before.allocated_clusters,
        .fragmented = result_.fragmented_clusters - before.fragmented_clusters,
        .compressed = result_.compressed_clusters - before.compressed_clusters,
    };
  co_return ok();
}

Task<Result<>> Checker::count_repeated_tables() {
  for (const auto& [at, repeated] : repeated_) {
    if (repeated.times == 0) continue;
    times_ = repeated.times;
    CO_TRY_OK(co_await count_l2(at, Tree::snapshot));
    times_ = 1;
    CO_TRY_OK(within_bounds());
  }
  co_return ok();
}

// Reads a table into l2_; false if it is not stored and therefore zero.
Task<Result<bool>> Checker::read_l2(std::uint64_t at) {
  const std::uint64_t bytes = geometry_.cluster_bytes();
  if (l2_at_ == at) co_return true;
  if (at >= file_bytes_) co_return false;
  if (work_ > kProbeHolesAfter) {
    const storage::Extent extent = file_.extent_at(at);
    if (!extent.data && extent.length >= std::min(bytes, file_bytes_ - at)) co_return false;
  }
  l2_.resize(bytes);
  l2_at_ = UINT64_MAX;
  CO_TRY_OK(co_await file_.read(at, l2_));
  l2_at_ = at;
  co_return true;
}

Task<Result<>> Checker::count_l2(std::uint64_t at, Tree tree) {
  auto stored = co_await read_l2(at);
  if (!stored) {
    say("ERROR: I/O error in check_refcounts_l2");
    ++result_.check_errors;
    co_return std::move(stored).error();
  }
  if (!*stored) co_return ok();
  spend(l2_.size());
  next_contiguous_ = 0;
  const std::uint64_t step = geometry_.l2_entry_bytes();
  const bool usual = !geometry_.extended_l2 && !header_.has_data_file();
  const std::uint64_t odd = kOddL2 | (geometry_.cluster_bytes() - 1);
  for (std::uint64_t i = 0; i < l2_.size(); i += step) {
    const auto entry = load_be<std::uint64_t>(l2_, i);
    if (entry == 0 && !geometry_.extended_l2) continue;
    if (usual && (entry & odd) == 0 && (entry & format::kOffsetMask) != 0) {
      if ((entry & format::kCopied) == 0) uncopied_ = true;
      count_data(entry & format::kOffsetMask, tree);
      if (times_ == 1) i += count_sequence(i + step, entry, tree) * step;
    } else {
      CO_TRY_OK(co_await count_l2_entry(at, i / step, tree));
    }
  }
  co_return ok();
}

// The usual entries: one cluster behind the other, as the entry before byte `place` of the table
// began, each counted for the first time.  Returns how many there are.
std::uint64_t Checker::count_sequence(std::uint64_t place, std::uint64_t entry, Tree tree) {
  std::uint64_t found = 0;
  for (; place < l2_.size(); place += format::kEntryBytes) {
    entry += geometry_.cluster_bytes();
    const std::uint64_t offset = entry & format::kOffsetMask;
    if (load_be<std::uint64_t>(l2_, place) != entry || offset >= file_bytes_) break;
    if (!counts_.count_first(offset >> geometry_.cluster_bits)) break;
    ++found;
    next_contiguous_ = offset + geometry_.cluster_bytes();
  }
  if (tree == Tree::active) result_.allocated_clusters += found;
  return found;
}

// The usual entry: data in a cluster of its own.
void Checker::count_data(std::uint64_t offset, Tree tree) {
  if (tree == Tree::active) {
    ++result_.allocated_clusters;
    if (next_contiguous_ != 0 && offset != next_contiguous_) ++result_.fragmented_clusters;
    next_contiguous_ = offset + geometry_.cluster_bytes();
  }
  if (header_.has_data_file()) return;
  if (geometry_.within(HostOffset{offset}) == 0 && offset < file_bytes_ && times_ == 1 &&
      counts_.count_first(offset >> geometry_.cluster_bits))
    return;
  refer(offset, geometry_.cluster_bytes(), times_);
}

void Checker::count_compressed(std::uint64_t index, std::uint64_t entry, std::uint64_t bitmap,
                               Tree tree) {
  const CompressedSpan span = compressed_span(entry, geometry_.cluster_bits);
  if ((entry & format::kCopied) != 0) {
    say("ERROR: coffset={:#x}: copied flag must never be set for compressed clusters",
        span.offset.value);
    ++result_.corruptions;
    entry &= ~format::kCopied;
  }
  if (header_.has_data_file()) {
    say("ERROR compressed cluster {} with data file, entry={:#x}", index, entry);
    ++result_.corruptions;
    return;
  }
  if (bitmap != 0) {
    say("ERROR compressed cluster {} with non-zero subcluster allocation bitmap, entry={:#x}",
        index, entry);
    ++result_.corruptions;
    return;
  }
  refer(span.offset.value, span.bytes, times_);
  if (tree == Tree::active) {
    ++result_.allocated_clusters;
    ++result_.compressed_clusters;
    ++result_.fragmented_clusters;  // by nature
  }
}

Task<Result<>> Checker::count_l2_entry(std::uint64_t at, std::uint64_t index, Tree tree) {
  const std::uint64_t place = index * geometry_.l2_entry_bytes();
  const auto entry = load_be<std::uint64_t>(l2_, place);
  const std::uint64_t bitmap =
      geometry_.extended_l2 ? load_be<std::uint64_t>(l2_, place + format::kEntryBytes) : 0;
  if ((entry & format::kCompressed) != 0) {
    count_compressed(index, entry, bitmap, tree);
    co_return ok();
  }
  if ((entry & kReservedL2) != 0) {
    say("ERROR found l2 entry with reserved bits set: {:x}", entry);
    ++result_.corruptions;
  }
  const std::uint64_t offset = entry & format::kOffsetMask;
  const bool in_data_file = header_.has_data_file() && (entry & format::kCopied) != 0;
  const bool zero = !geometry_.extended_l2 && (entry & format::kZero) != 0;
  if (offset == 0 && (zero || !in_data_file)) {
    if (zero || (bitmap & kAllocBits) == 0) co_return ok();
    say("ERROR: Unallocated cluster has non-zero subcluster allocation map");
    ++result_.corruptions;
    co_return ok();
  }
  if (((bitmap >> 32) & bitmap) != 0) {
    say("ERROR offset={:x}: Allocated cluster has corrupted subcluster allocation bitmap", offset);
    ++result_.corruptions;
  }
  if (geometry_.within(HostOffset{offset}) != 0) {
    ++result_.corruptions;
    const bool data = geometry_.extended_l2 ? (bitmap & kAllocBits) != 0 : !zero;
    if (data) {
      say("ERROR offset={:x}: Data cluster is not properly aligned; L2 entry corrupted.", offset);
    } else {
      say("{} offset={:x}: Preallocated cluster is not properly aligned; L2 entry corrupted.",
          repairs_all() ? "Repairing" : "ERROR", offset);
      if (repairs_all()) {
        CO_TRY(const bool repaired, co_await repaired_by_zero(at, index));
        if (repaired) co_return ok();
      }
    }
  }
  if ((entry & format::kCopied) == 0) uncopied_ = true;
  count_data(offset, tree);
  co_return ok();
}

// Takes the cluster away from an entry that reads as zeroes.
Task<Result<bool>> Checker::repaired_by_zero(std::uint64_t at, std::uint64_t index) {
  const std::uint64_t place = index * geometry_.l2_entry_bytes();
  const MutableBytes entry = MutableBytes(l2_).subspan(place, geometry_.l2_entry_bytes());
  if (geometry_.extended_l2) {
    const auto bitmap = load_be<std::uint64_t>(entry, format::kEntryBytes);
    store_be(entry, 0, std::uint64_t{0});
    store_be(entry, format::kEntryBytes, (bitmap | bitmap << 32) & ~kAllocBits);
  } else {
    store_be(entry, 0, format::kZero);
  }
  CO_TRY_OK(co_await file_.write(at + place, entry));
  --result_.corruptions;
  ++result_.corruptions_fixed;
  co_return true;
}

Task<Result<>> Checker::count_snapshots() {
  if (snapshots_.empty()) co_return ok();
  if (header_.has_data_file()) {
    say("ERROR {} snapshots in an image with data file", snapshots_.size());
    ++result_.corruptions;
  }
  for (const Snapshot& snapshot : snapshots_) {
    if (geometry_.within(snapshot.l1_table_offset) != 0) {
      say("ERROR snapshot {} ({}) l1_offset={:#x}: L1 table is not cluster aligned; snapshot table "
          "entry corrupted",
          snapshot.id, snapshot.name, snapshot.l1_table_offset.value);
      ++result_.corruptions;
      continue;
    }
    if (snapshot.l1_size > format::kL1BytesMax / format::kEntryBytes) {
      say("ERROR snapshot {} ({}) l1_size={:#x}: L1 table is too large; snapshot table entry "
          "corrupted",
          snapshot.id, snapshot.name, snapshot.l1_size);
      ++result_.corruptions;
      continue;
    }
    CO_TRY_OK(co_await count_l1(snapshot.l1_table_offset.value, snapshot.l1_size, Tree::snapshot));
  }
  refer(header_.snapshots_offset.value, snapshot_table_bytes_);
  co_return ok();
}

Task<Result<>> Checker::count_bitmaps() {
  if (!header_.bitmaps || (header_.autoclear_features & format::kAutoclearBitmaps) == 0)
    co_return ok();
  refer(header_.bitmaps->directory.value, header_.bitmaps->directory_bytes);
  auto bitmaps = co_await read_bitmaps(file_, header_);
  if (!bitmaps) {
    ++result_.corruptions;
    co_return std::move(bitmaps).error();
  }
  for (const BitmapInfo& bitmap : *bitmaps)
    CO_TRY_OK(co_await count_bitmap(bitmap.table_offset.value, bitmap.table_size));
  co_return ok();
}

Task<Result<>> Checker::count_bitmap(std::uint64_t at, std::uint64_t entries) {
  refer(at, entries * format::kEntryBytes);
  std::vector<std::byte> part(std::min(kPartBytes, entries * format::kEntryBytes));
  for (std::uint64_t done = 0; done < entries * format::kEntryBytes; done += part.size()) {
    const MutableBytes now =
        MutableBytes(part).first(std::min(part.size(), entries * format::kEntryBytes - done));
    CO_TRY_OK(co_await file_.read(at + done, now));
    spend(now.size());
    for (std::uint64_t i = 0; i < now.size(); i += format::kEntryBytes) {
      const auto entry = load_be<std::uint64_t>(now, i);
      const std::uint64_t offset = entry & format::kOffsetMask;
      if ((entry & kReservedBitmap) != 0 || geometry_.within(HostOffset{offset}) != 0 ||
          (offset != 0 && (entry & 1) != 0)) {
        ++result_.corruptions;
      } else if (offset != 0) {
        refer(offset, geometry_.cluster_bytes());
      }
    }
    CO_TRY_OK(within_bounds());
  }
  co_return ok();
}

Task<Result<>> Checker::count_refcount_blocks() {
  for (std::uint64_t i = 0; i < refcount_table_.size(); ++i) {
    const std::uint64_t offset = refcount_table_[i] & format::kBlockOffsetMask;
    const std::uint64_t cluster = offset >> geometry_.cluster_bits;
    if (refcount_table_[i] == 0) continue;
    CO_TRY_OK(within_bounds());
    if ((refcount_table_[i] & kReservedTable) != 0) {
      say("ERROR refcount table entry {} has reserved bits set", i);
    } else if (geometry_.within(HostOffset{offset}) != 0) {
      say("ERROR refcount block {} is not cluster aligned; refcount table entry corrupted", i);
    } else if (cluster >= counts_.size()) {
      CO_TRY_OK(co_await count_block_outside(i, offset));
      continue;
    } else {
      refer(offset, geometry_.cluster_bytes());
      if (counts_.get(cluster) == 1) continue;
      say("ERROR refcount block {} refcount={}", i, counts_.get(cluster));
    }
    ++result_.corruptions;
    must_rebuild_ = true;
  }
  co_return ok();
}

// A repair makes the file long enough for the block, as QEMU does, but never more than twice as
// long as it was: then new blocks are made.
Task<Result<>> Checker::count_block_outside(std::uint64_t index, std::uint64_t offset) {
  say("{} refcount block {} is outside image", repairs_all() ? "Repairing" : "ERROR", index);
  if (!repairs_all()) {
    ++result_.corruptions;
    co_return ok();
  }
  if (offset > format::kHostOffsetEnd || offset + geometry_.cluster_bytes() > 2 * file_bytes_) {
    ++result_.corruptions;
    must_rebuild_ = true;
    co_return ok();
  }
  CO_TRY_OK(co_await file_.truncate(offset + geometry_.cluster_bytes()));
  file_bytes_ = file_.size();
  counts_.grow(geometry_.clusters_for(file_bytes_));
  ++result_.corruptions_fixed;
  refer(offset, geometry_.cluster_bytes());
  co_return ok();
}

}  // namespace sim::qcow2
