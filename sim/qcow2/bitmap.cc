#include "sim/qcow2/bitmap.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <set>

#include "sim/qcow2/format.h"

namespace sim::qcow2 {

namespace {

namespace at = format::bitmap_at;

// What all tables of an image may be together, and all data that they refer to: no more than the
// file can hold, and some of it.  QEMU knows no such limit, and takes the memory and the time.
constexpr std::uint64_t kTableBytesTotalMax = 256_MiB;
constexpr std::uint64_t kDataBytesTotalMax = 4_GiB;
constexpr std::uint64_t kDataBytesAlways = 64_MiB;

Error invalid(std::string text, int number = EINVAL) {
  return {ErrorClass::generic, std::move(text), number};
}

std::uint64_t entry_bytes(std::uint64_t name_size, std::uint64_t extra_size) {
  return align_up(format::kBitmapHeadBytes + extra_size + name_size, 8);
}

// What QEMU asks of an entry.
bool satisfies_constraints(const BitmapInfo& bitmap, std::uint32_t flags, std::uint8_t type,
                           std::uint64_t name_size, const Header& header) {
  const Geometry geometry = header.geometry();
  const std::uint64_t bytes = std::uint64_t{bitmap.table_size} << geometry.cluster_bits;
  if (bitmap.table_size == 0 || bitmap.table_offset.value == 0 ||
      geometry.within(bitmap.table_offset) != 0)
    return false;
  if (bitmap.table_size > format::kBitmapTableEntriesMax || bytes > format::kBitmapBytesMax)
    return false;
  if (bitmap.granularity_bits < format::kBitmapGranularityBitsMin ||
      bitmap.granularity_bits > format::kBitmapGranularityBitsMax)
    return false;
  if ((flags & ~(format::kBitmapInUse | format::kBitmapAuto)) != 0) return false;
  if (type != format::kBitmapDirtyTracking || name_size > format::kBitmapNameMax) return false;
  return bitmap.in_use || bitmap.bits_for(header.size) <= bytes * 8;
}

// Takes the first entry off `directory`.
Result<BitmapInfo> parse_entry(Bytes& directory, const Header& header) {
  const Error broken = invalid("Broken bitmap directory");
  if (directory.size() < format::kBitmapHeadBytes) return broken;
  const auto flags = load_be<std::uint32_t>(directory, at::flags);
  const auto name_size = load_be<std::uint16_t>(directory, at::name_size);
  const auto extra_size = load_be<std::uint32_t>(directory, at::extra_data_size);
  // QEMU counts in 32 bits here, so that the largest sizes seem to fit: refused a line below.
  const std::uint64_t size = entry_bytes(name_size, extra_size);
  if (size % (std::uint64_t{1} << 32) > directory.size()) return broken;
  if (extra_size != 0) return invalid("Bitmap extra data is not supported");
  const Bytes name = directory.subspan(format::kBitmapHeadBytes, name_size);
  BitmapInfo bitmap = {
      .table_offset = {load_be<std::uint64_t>(directory, at::table_offset)},
      .table_size = load_be<std::uint32_t>(directory, at::table_size),
      .in_use = (flags & format::kBitmapInUse) != 0,
      .enabled = (flags & format::kBitmapAuto) != 0,
      .granularity_bits = std::to_integer<std::uint8_t>(directory[at::granularity_bits]),
      .name = std::string(reinterpret_cast<const char*>(name.data()), name.size()),
  };
  bitmap.name.resize(std::min(bitmap.name.size(), bitmap.name.find('\0')));
  const auto type = std::to_integer<std::uint8_t>(directory[at::type]);
  if (!satisfies_constraints(bitmap, flags, type, name_size, header))
    return invalid(fmt::format("Bitmap '{}' doesn't satisfy the constraints", bitmap.name));
  directory = directory.subspan(size);
  return bitmap;
}

Result<> check_names(const std::vector<BitmapInfo>& bitmaps) {
  std::set<std::string_view> names;
  for (const BitmapInfo& bitmap : bitmaps)
    if (!names.insert(bitmap.name).second)
      return invalid(fmt::format("Bitmap already exists: {}", bitmap.name));
  return ok();
}

}  // namespace

Task<Result<std::vector<BitmapInfo>>> read_bitmaps(storage::Storage& file, const Header& header) {
  std::vector<BitmapInfo> bitmaps;
  if (!header.bitmaps) co_return bitmaps;
  const BitmapsPointer& pointer = *header.bitmaps;
  if (pointer.directory_bytes == 0) co_return invalid("Requested bitmap directory size is zero");
  constexpr auto kEnd = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const char* kContext = "Failed to read bitmap directory";
  if (pointer.directory.value > kEnd - pointer.directory_bytes) co_return os_error(EIO, kContext);
  // Read in parts: what cannot be an entry is found before much memory is taken.
  constexpr std::uint64_t kPartBytes = 65536;
  std::vector<std::byte> buffer;
  std::uint64_t next = 0;  // byte of the directory that follows the buffer
  Bytes rest;
  while (next < pointer.directory_bytes || !rest.empty()) {
    if (rest.size() < format::kBitmapHeadBytes + UINT16_MAX + 8 && next < pointer.directory_bytes) {
      buffer.erase(buffer.begin(), buffer.end() - static_cast<std::ptrdiff_t>(rest.size()));
      const std::uint64_t part = std::min(2 * kPartBytes, pointer.directory_bytes - next);
      const std::size_t kept = buffer.size();
      buffer.resize(kept + part);
      const auto got =
          co_await file.read(pointer.directory.value + next, MutableBytes(buffer).subspan(kept));
      if (!got) co_return os_error(got.error().number, kContext);
      next += part;
      rest = buffer;
    }
    if (rest.size() >= format::kBitmapHeadBytes && bitmaps.size() == pointer.count)
      co_return invalid("More bitmaps found than specified in header extension");
    CO_TRY(bitmaps.emplace_back(), parse_entry(rest, header));
  }
  if (bitmaps.size() != pointer.count)
    co_return invalid("Less bitmaps found than specified in header extension");
  CO_TRY_OK(check_names(bitmaps));
  co_return bitmaps;
}

std::uint64_t bitmaps_size(const std::vector<BitmapInfo>& bitmaps, std::uint64_t size,
                           std::uint64_t cluster_bytes) {
  std::uint64_t total = 0, directory = 0;
  for (const BitmapInfo& bitmap : bitmaps) {
    if (bitmap.in_use) continue;
    const std::uint64_t clusters = div_up(div_up(bitmap.bits_for(size), 8), cluster_bytes);
    total += clusters * cluster_bytes + align_up(clusters * format::kEntryBytes, cluster_bytes);
    directory += entry_bytes(bitmap.name.size(), 0);
  }
  return total + align_up(directory, cluster_bytes);
}

std::vector<std::byte> serialise_bitmaps(const std::vector<BitmapInfo>& bitmaps) {
  std::vector<std::byte> out;
  for (const BitmapInfo& bitmap : bitmaps) {
    const std::size_t start = out.size();
    out.resize(start + entry_bytes(bitmap.name.size(), 0));
    const MutableBytes entry = MutableBytes(out).subspan(start);
    const std::uint32_t flags =
        (bitmap.in_use ? format::kBitmapInUse : 0) | (bitmap.enabled ? format::kBitmapAuto : 0);
    store_be(entry, at::table_offset, bitmap.table_offset.value);
    store_be(entry, at::table_size, bitmap.table_size);
    store_be(entry, at::flags, flags);
    entry[at::type] = std::byte{format::kBitmapDirtyTracking};
    entry[at::granularity_bits] = std::byte{bitmap.granularity_bits};
    store_be(entry, at::name_size, static_cast<std::uint16_t>(bitmap.name.size()));
    std::ranges::copy(std::as_bytes(std::span(bitmap.name)),
                      entry.subspan(format::kBitmapHeadBytes).begin());
  }
  return out;
}

Task<Result<std::vector<std::uint64_t>>> read_bitmap_table(storage::Storage& file,
                                                           const BitmapInfo& bitmap,
                                                           Geometry geometry) {
  const std::uint64_t bytes = std::uint64_t{bitmap.table_size} * format::kEntryBytes;
  constexpr auto kEnd = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (bitmap.table_offset.value > kEnd - bytes) co_return os_error(EIO);
  std::vector<std::byte> raw(bytes);
  CO_TRY_OK(co_await file.read(bitmap.table_offset.value, raw));
  std::vector<std::uint64_t> table(bitmap.table_size);
  for (std::size_t i = 0; i < table.size(); ++i) {
    table[i] = load_be<std::uint64_t>(raw, i * format::kEntryBytes);
    const std::uint64_t offset = table[i] & format::kOffsetMask;
    const std::uint64_t allowed = offset != 0 ? format::kOffsetMask : format::kBitmapAllOnes;
    if ((table[i] & ~allowed) != 0 || geometry.within(HostOffset{offset}) != 0)
      co_return os_error(EINVAL);
  }
  co_return table;
}

Task<Result<>> check_bitmap_tables(storage::Storage& file, const Header& header,
                                   const std::vector<BitmapInfo>& bitmaps, bool lax) {
  const Geometry geometry = header.geometry();
  const std::uint64_t data_max =
      std::clamp(file.size(), kDataBytesAlways, kDataBytesTotalMax) >> geometry.cluster_bits;
  std::uint64_t total = 0, data = 0;
  for (const BitmapInfo& bitmap : bitmaps) {
    if (bitmap.in_use) continue;
    total += bitmap.table_size * format::kEntryBytes;
    if (total > kTableBytesTotalMax)
      co_return invalid("Bitmap tables take more than 256 MiB", EFBIG);
    const auto beyond = [&](HostOffset what, std::string_view name) -> std::optional<Error> {
      if (lax || what.value < file.size()) return std::nullopt;
      return invalid(fmt::format("{} of bitmap '{}' at {:#x} lies beyond the end of the file", name,
                                 bitmap.name, what.value),
                     EIO);
    };
    if (const auto error = beyond(bitmap.table_offset, "Table")) co_return *error;
    const auto table = co_await read_bitmap_table(file, bitmap, geometry);
    if (!table)
      co_return os_error(
          table.error().number,
          "Could not read bitmap_table table from image for bitmap '" + bitmap.name + "'");
    if (bitmap.table_size != bitmap.clusters_for(header.size, geometry))
      co_return os_error(EINVAL, "Could not read bitmap '" + bitmap.name + "' from image");
    data += static_cast<std::uint64_t>(std::ranges::count_if(
        *table, [](std::uint64_t entry) { return (entry & format::kOffsetMask) != 0; }));
    if (data > data_max) co_return invalid("Bitmaps refer to more data than the file holds", EFBIG);
    for (const std::uint64_t entry : *table)
      if (const auto error = beyond({entry & format::kOffsetMask}, "Data")) co_return *error;
  }
  co_return ok();
}

}  // namespace sim::qcow2
