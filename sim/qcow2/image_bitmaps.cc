// An open image's persistent bitmaps.  In memory is only what this session sets: what the file
// holds is read where it is wanted.
//
// As in QEMU, an image that is open for writing has in_use set for all of them; closing writes all
// anew, and only then frees what was there (format.md, "Bitmaps").

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "sim/base/check.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/image.h"

namespace sim::qcow2 {

namespace {

Error invalid(std::string text, int number = EINVAL) {
  return {ErrorClass::generic, std::move(text), number};
}

Result<> check_constraints(std::string_view name, std::uint8_t granularity_bits,
                           std::uint64_t size) {
  if (name.size() > format::kBitmapNameMax)
    return invalid(
        fmt::format("Name length exceeds maximum ({} characters)", format::kBitmapNameMax));
  if (granularity_bits < format::kBitmapGranularityBitsMin)
    return invalid(fmt::format("Granularity is under minimum ({} bytes)",
                               1U << format::kBitmapGranularityBitsMin));
  if (granularity_bits > format::kBitmapGranularityBitsMax)
    return invalid(fmt::format("Granularity exceeds maximum ({} bytes)",
                               1U << format::kBitmapGranularityBitsMax));
  if (div_up(div_up(size, std::uint64_t{1} << granularity_bits), 8) > format::kBitmapBytesMax)
    return invalid("Too much space will be occupied by the bitmap. Use larger granularity");
  return ok();
}

// Clears the bits from `end` on.
void cut(MutableBytes bytes, std::uint64_t end) {
  if (end >= bytes.size() * 8) return;
  if (end % 8 != 0) bytes[end / 8] &= static_cast<std::byte>((1U << (end % 8)) - 1);
  std::ranges::fill(bytes.subspan(div_up(end, 8)), std::byte{0});
}

// The first bit from `from` on that is `set`, or the end.
std::uint64_t next_bit(Bytes bytes, std::uint64_t from, bool set) {
  const std::byte nothing = set ? std::byte{0} : std::byte{0xff};
  std::uint64_t bit = from;
  for (; bit < bytes.size() * 8; ++bit) {
    if (bit % 8 == 0) {
      while (bit < bytes.size() * 8 && bytes[bit / 8] == nothing) bit += 8;
      if (bit >= bytes.size() * 8) break;
    }
    if (((bytes[bit / 8] >> (bit % 8)) & std::byte{1}) == (set ? std::byte{1} : std::byte{0}))
      return bit;
  }
  return bytes.size() * 8;
}

// Bytes into new clusters of the file, which must not be in use by anything else.
Task<Result<HostOffset>> store_new(storage::Storage& file, Tables& tables, Refcounts& refcounts,
                                   Geometry geometry, Bytes bytes) {
  const std::uint64_t clusters = geometry.clusters_for(bytes.size());
  CO_TRY(const HostCluster host, co_await refcounts.allocate(clusters));
  CO_TRY_OK(tables.metadata().check(host, host + clusters));
  CO_TRY_OK(co_await file.write(geometry.start_of(host).value, bytes));
  co_return geometry.start_of(host);
}

}  // namespace

// ---- from open to close

Task<Result<>> Image::load_bitmaps() {
  CO_TRY(bitmaps_, co_await read_bitmaps(*file_, header_));
  CO_TRY_OK(co_await check_bitmap_tables(*file_, header_, bitmaps_, options_.lax));
  for (const BitmapInfo& bitmap : bitmaps_)
    bits_.push_back({.set = DirtyBits(bitmap_budget_),
                     .stored_end = bitmap.in_use ? 0 : bitmap.bits_for(size_),
                     .listed = true});
  if (options_.writable) CO_TRY_OK(co_await mark_bitmaps_in_use());
  co_return ok();
}

Task<Result<>> Image::mark_bitmaps_in_use() {
  std::vector<BitmapInfo> marked = bitmaps_;
  if (std::ranges::all_of(marked, &BitmapInfo::in_use)) co_return ok();
  for (BitmapInfo& bitmap : marked) bitmap.in_use = true;
  const std::vector<std::byte> directory = serialise_bitmaps(marked);
  if (directory.size() != header_.bitmaps->directory_bytes)
    co_return os_error(EINVAL, "Can't update bitmap directory");
  CO_TRY_OK(co_await file_->write(header_.bitmaps->directory.value, directory));
  co_return co_await store_header();
}

void Image::note_change(GuestOffset at, std::uint64_t length) {
  if (bitmaps_.empty() || at.value >= size_ || length == 0) return;
  const std::uint64_t last = at.value + std::min(length, size_ - at.value) - 1;
  for (std::size_t i = 0; i < bitmaps_.size(); ++i) {
    if (!bitmaps_[i].enabled || bitmaps_[i].in_use) continue;
    const std::uint8_t shift = bitmaps_[i].granularity_bits;
    bits_[i].set.set(at.value >> shift, (last >> shift) + 1);
  }
}

Task<Result<>> Image::store_bitmaps() {
  const auto held = co_await lock_.lock();
  if (!options_.writable || std::ranges::all_of(bitmaps_, &BitmapInfo::in_use)) co_return ok();
  std::vector<BitmapInfo> stored = bitmaps_;
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const BitmapInfo& bitmap = stored[i];
    if (bitmap.in_use) continue;
    if (auto fits = check_constraints(bitmap.name, bitmap.granularity_bits, size_); !fits)
      co_return invalid(fmt::format("Bitmap '{}' doesn't satisfy the constraints: {}", bitmap.name,
                                    fits.error().desc));
    CO_TRY_OK(co_await store_bits(i, stored[i]));
  }
  CO_TRY_OK(co_await replace_directory(stored));
  std::swap(stored, bitmaps_);
  for (std::size_t i = 0; i < stored.size(); ++i) {
    if (bits_[i].listed && !stored[i].in_use) co_await free_bitmap(stored[i]);
    bits_[i].set.clear();
    bits_[i].stored_end = bitmaps_[i].in_use ? 0 : bitmaps_[i].bits_for(size_);
    bits_[i].listed = true;
  }
  co_return ok();
}

// The table in the file, as far as it counts.
Task<Result<std::vector<std::uint64_t>>> Image::stored_table(std::size_t index) {
  if (bits_[index].stored_end == 0) co_return std::vector<std::uint64_t>{};
  co_return co_await read_bitmap_table(*file_, bitmaps_[index], geometry_);
}

// The bits of one cluster of the bitmap, of which the file's table has `entry`; `first` is its
// first bit.  False, and `into` is not touched, if none is set.
Task<Result<bool>> Image::load_bits(std::size_t index, std::uint64_t entry, std::uint64_t first,
                                    MutableBytes into) {
  const BitmapBits& bits = bits_[index];
  const std::uint64_t end = first + into.size() * 8;
  const bool was_set = bits.set.any(first, end);
  if (first >= bits.stored_end) entry = 0;
  if (entry == 0 && !was_set) co_return false;
  if (const std::uint64_t host = entry & format::kOffsetMask; host != 0) {
    CO_TRY_OK(co_await file_->read(host, into));
  } else {
    std::ranges::fill(into, entry == format::kBitmapAllOnes ? std::byte{0xff} : std::byte{0});
  }
  if (first < bits.stored_end) cut(into, bits.stored_end - first);
  if (was_set) bits.set.add_to(into, first);
  const std::uint64_t all = bitmaps_[index].bits_for(size_);
  cut(into, all - std::min(all, first));
  co_return !all_zero(into);
}

// Writes data and table of a bitmap into new clusters, in QEMU's order.
Task<Result<>> Image::store_bits(std::size_t index, BitmapInfo& stored) {
  CO_TRY(const std::vector<std::uint64_t> old, co_await stored_table(index));
  const std::uint64_t entries = stored.clusters_for(size_, geometry_);
  if (entries == 0) co_return os_error(ENOMEM, "Lost persistent bitmaps");  // as QEMU loses them
  std::vector<std::byte> table(entries * format::kEntryBytes);
  std::vector<std::byte> cluster(cluster_size());
  for (std::uint64_t i = 0; i < entries; ++i) {
    const std::uint64_t first = i * cluster_size() * 8;
    const std::uint64_t entry = i < old.size() ? old[i] : 0;
    CO_TRY(const bool any, co_await load_bits(index, entry, first, cluster));
    if (!any) continue;
    CO_TRY(const HostOffset host,
           co_await store_new(*file_, tables_, refcounts_, geometry_, cluster));
    store_be(MutableBytes(table), i * format::kEntryBytes, host.value);
  }
  CO_TRY(stored.table_offset, co_await store_new(*file_, tables_, refcounts_, geometry_, table));
  stored.table_size = static_cast<std::uint32_t>(entries);
  co_return ok();
}

// Writes a new directory, lets the header name it, and frees the old one.
Task<Result<>> Image::replace_directory(const std::vector<BitmapInfo>& bitmaps) {
  const std::optional<BitmapsPointer> old = header_.bitmaps;
  std::optional<BitmapsPointer> pointer;
  if (!bitmaps.empty()) {
    const std::vector<std::byte> directory = serialise_bitmaps(bitmaps);
    CO_TRY(const HostOffset host,
           co_await store_new(*file_, tables_, refcounts_, geometry_, directory));
    pointer = {.count = static_cast<std::uint32_t>(bitmaps.size()),
               .directory_bytes = directory.size(),
               .directory = host};
  }
  CO_TRY_OK(co_await tables_.flush());
  header_.bitmaps = pointer;
  if (pointer)
    header_.autoclear_features |= format::kAutoclearBitmaps;
  else
    header_.autoclear_features &= ~format::kAutoclearBitmaps;
  if (auto switched = co_await store_header(); !switched) {
    header_.bitmaps = old;
    co_return switched;
  }
  learn_areas();
  if (old)  // what cannot be freed is leaked, as in QEMU
    (void)co_await refcounts_.release(geometry_.cluster_of(old->directory),
                                      geometry_.clusters_for(old->directory_bytes), false);
  co_return ok();
}

// Frees the clusters of a bitmap that the directory no longer has; what cannot be freed is leaked,
// as in QEMU.  QEMU gives the space of the data back to the file, but not that of tables.
Task<void> Image::free_bitmap(BitmapInfo bitmap) {
  const auto table = co_await read_bitmap_table(*file_, bitmap, geometry_);
  if (!table) co_return;
  for (const std::uint64_t entry : *table)
    if (const HostOffset host{entry & format::kOffsetMask}; host.value != 0)
      (void)co_await refcounts_.release(geometry_.cluster_of(host), 1, true);
  (void)co_await refcounts_.release(geometry_.cluster_of(bitmap.table_offset),
                                    geometry_.clusters_for(table->size() * format::kEntryBytes),
                                    false);
}

// ---- what is done to them

Result<std::size_t> Image::find_bitmap(std::string_view name) const {
  const auto found = std::ranges::find(bitmaps_, name, &BitmapInfo::name);
  if (found == bitmaps_.end())
    return invalid(fmt::format("Dirty bitmap '{}' not found", name), ENOENT);
  return static_cast<std::size_t>(found - bitmaps_.begin());
}

Result<std::size_t> Image::usable_bitmap(std::string_view name) const {
  TRY(const std::size_t index, find_bitmap(name));
  if (bitmaps_[index].in_use)
    return invalid(fmt::format("Bitmap '{}' is inconsistent and cannot be used", name));
  return index;
}

Result<> Image::can_store_bitmap(std::string_view name, std::uint8_t granularity_bits) const {
  if (header_.version < 3) return invalid("Cannot store dirty bitmaps in qcow2 v2 files");
  TRY_OK(check_constraints(name, granularity_bits, size_));
  if (bitmaps_.size() >= format::kBitmapsMax)
    return invalid("Maximum number of persistent bitmaps is already reached");
  std::uint64_t bytes = align_up(format::kBitmapHeadBytes + name.size(), 8);
  for (const BitmapInfo& bitmap : bitmaps_)
    bytes += align_up(format::kBitmapHeadBytes + bitmap.name.size(), 8);
  if (bytes > format::kBitmapDirectoryBytesMax)
    return invalid("Not enough space in the bitmap directory");
  return ok();
}

std::uint8_t Image::default_granularity_bits() const {
  return static_cast<std::uint8_t>(std::clamp(header_.cluster_bits, 12U, 16U));
}

Task<Result<>> Image::add_bitmap(std::string name, std::uint8_t granularity_bits, bool enabled) {
  CO_TRY_OK(check_change({0}, 0));
  if (name.empty()) co_return invalid("Bitmap name cannot be empty");
  const auto held = co_await lock_.lock();
  CO_TRY_OK(can_store_bitmap(name, granularity_bits));
  if (find_bitmap(name)) co_return invalid(fmt::format("Bitmap already exists: {}", name));
  // QEMU stores the newest of a session's bitmaps first, behind those that were there.
  const std::ptrdiff_t place = std::ranges::count(bits_, true, &BitmapBits::listed);
  bitmaps_.insert(
      bitmaps_.begin() + place,
      {.enabled = enabled, .granularity_bits = granularity_bits, .name = std::move(name)});
  bits_.insert(bits_.begin() + place, {.set = DirtyBits(bitmap_budget_)});
  co_return ok();
}

Task<Result<>> Image::remove_bitmap(std::string name) {
  CO_TRY_OK(check_change({0}, 0));
  const auto held = co_await lock_.lock();
  CO_TRY(const std::size_t index, find_bitmap(name));
  if (bits_[index].listed) {
    std::vector<BitmapInfo> rest;
    for (std::size_t i = 0; i < bitmaps_.size(); ++i) {
      if (i == index || !bits_[i].listed) continue;
      rest.push_back(bitmaps_[i]);
      rest.back().in_use = true;
    }
    CO_TRY_OK(co_await replace_directory(rest));
    co_await free_bitmap(bitmaps_[index]);
  }
  bitmaps_.erase(bitmaps_.begin() + static_cast<std::ptrdiff_t>(index));
  bits_.erase(bits_.begin() + static_cast<std::ptrdiff_t>(index));
  co_return ok();
}

Task<Result<>> Image::clear_bitmap(std::string name) {
  CO_TRY_OK(check_change({0}, 0));
  const auto held = co_await lock_.lock();
  CO_TRY(const std::size_t index, usable_bitmap(name));
  bits_[index].set.clear();
  bits_[index].stored_end = 0;
  co_return ok();
}

Task<Result<>> Image::enable_bitmap(std::string name, bool enabled) {
  CO_TRY_OK(check_change({0}, 0));
  const auto held = co_await lock_.lock();
  CO_TRY(const std::size_t index, usable_bitmap(name));
  bitmaps_[index].enabled = enabled;
  co_return ok();
}

Task<Result<>> Image::merge_bitmap(std::string name, Image& source, std::string source_name) {
  CO_TRY_OK(check_change({0}, 0));
  const auto held = co_await lock_.lock();
  CO_TRY_OK(find_bitmap(name));  // QEMU's order of looking
  CO_TRY_OK(source.find_bitmap(source_name));
  CO_TRY(const std::size_t index, usable_bitmap(name));
  CO_TRY(const std::size_t from, source.usable_bitmap(source_name));
  if (size_ != source.size_)
    co_return invalid(
        fmt::format("Bitmaps are of different sizes (destination size is {}, source size is {}) "
                    "and can't be merged",
                    size_, source.size_));
  if (this == &source && index == from) co_return ok();
  co_return co_await merge_bits(index, source, from);
}

Task<Result<>> Image::merge_bits(std::size_t index, Image& source, std::size_t source_index) {
  const BitmapInfo& from = source.bitmaps_[source_index];
  CO_TRY(const std::vector<std::uint64_t> table, co_await source.stored_table(source_index));
  std::vector<std::byte> cluster(source.cluster_size());
  const std::uint64_t clusters = from.clusters_for(size_, source.geometry_);
  for (std::uint64_t i = 0; i < clusters; ++i) {
    const std::uint64_t first = i * cluster.size() * 8;
    CO_TRY(const bool any, co_await source.load_bits(source_index, i < table.size() ? table[i] : 0,
                                                     first, cluster));
    for (std::uint64_t bit = any ? next_bit(cluster, 0, true) : cluster.size() * 8;
         bit < cluster.size() * 8;) {
      const std::uint64_t end = next_bit(cluster, bit, false);
      const std::uint64_t at = (first + bit) << from.granularity_bits;
      const std::uint64_t stop = std::min((first + end) << from.granularity_bits, size_);
      const std::uint8_t shift = bitmaps_[index].granularity_bits;
      bits_[index].set.set(at >> shift, ((stop - 1) >> shift) + 1);
      bit = next_bit(cluster, end, true);
    }
  }
  co_return ok();
}

Task<Result<std::vector<std::byte>>> Image::bitmap_bits(std::string name) {
  constexpr std::uint64_t kBytesMax = std::uint64_t{64} << 20;
  const auto held = co_await lock_.lock();
  CO_TRY(const std::size_t index, usable_bitmap(name));
  const std::uint64_t bytes = div_up(bitmaps_[index].bits_for(size_), 8);
  if (bytes > kBytesMax) co_return os_error(EFBIG);
  CO_TRY(const std::vector<std::uint64_t> table, co_await stored_table(index));
  std::vector<std::byte> bits(geometry_.clusters_for(bytes) * cluster_size());
  for (std::uint64_t i = 0; i * cluster_size() < bits.size(); ++i)
    CO_TRY_OK(co_await load_bits(index, i < table.size() ? table[i] : 0, i * cluster_size() * 8,
                                 MutableBytes(bits).subspan(i * cluster_size(), cluster_size())));
  bits.resize(bytes);
  co_return bits;
}

Task<Result<>> Image::set_in_bitmap(std::string name, std::uint64_t at, std::uint64_t length) {
  CO_TRY_OK(check_change({at}, length));
  const auto held = co_await lock_.lock();
  CO_TRY(const std::size_t index, usable_bitmap(name));
  const std::uint8_t shift = bitmaps_[index].granularity_bits;
  if (length > 0) bits_[index].set.set(at >> shift, ((at + length - 1) >> shift) + 1);
  co_return ok();
}

Result<> Image::bitmaps_allow_resize() const {
  for (const BitmapInfo& bitmap : bitmaps_) TRY_OK(usable_bitmap(bitmap.name));
  return ok();
}

void Image::resize_bitmaps(std::uint64_t size) {
  for (std::size_t i = 0; i < bitmaps_.size(); ++i) {
    const std::uint64_t bits = bitmaps_[i].bits_for(size);
    bits_[i].stored_end = std::min(bits_[i].stored_end, bits);
    bits_[i].set.truncate(bits);
  }
}

}  // namespace sim::qcow2
