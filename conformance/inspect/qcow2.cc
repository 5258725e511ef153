#include "conformance/inspect/qcow2.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <fmt/format.h>
#include "sim/base/bytes.h"

namespace conformance::inspect {

namespace {

constexpr std::uint32_t kMagic = 0x514649fb;
constexpr std::uint64_t kMostL1Bytes = 32 << 20;
constexpr std::uint64_t kMostRefcountTableBytes = 8 << 20;
constexpr std::size_t kMostBackingName = 1023;
constexpr std::uint32_t kMostSnapshots = 65536;
constexpr std::uint32_t kExtensionEnd = 0;
constexpr std::uint32_t kExtensionBackingFormat = 0xe2792aca;
constexpr std::uint32_t kExtensionBitmaps = 0x23852875;
constexpr std::uint32_t kExtensionEncryption = 0x0537be77;
constexpr std::uint32_t kCryptLuks = 2;

// Incompatible feature bits (version 3).
constexpr std::uint64_t kIncompatibleDirty = 1U << 0;
constexpr std::uint64_t kIncompatibleCorrupt = 1U << 1;
constexpr std::uint64_t kIncompatibleDataFile = 1U << 2;
constexpr std::uint64_t kIncompatibleCompression = 1U << 3;
constexpr std::uint64_t kIncompatibleExtendedL2 = 1U << 4;

// The first cluster, or what the file has of it.
struct FirstCluster {
  const Files& files;
  const std::string& path;
  std::uint64_t limit;  // bytes of the first cluster
  std::vector<std::byte> bytes;

  // Makes sure that [0, end) can be looked at; false if that is beyond the cluster.
  sim::Result<bool> reach(std::uint64_t end) {
    if (end > limit) return false;
    if (end <= bytes.size()) return true;
    bytes.resize(std::min<std::uint64_t>(limit, std::max<std::uint64_t>(end, 4096)));
    TRY_OK(files.read(path, 0, bytes));
    return true;
  }
  std::string text(std::uint64_t offset, std::size_t length) const {
    std::string text(length, '\0');
    std::memcpy(text.data(), bytes.data() + offset, length);
    return text;
  }
};

sim::Result<> check_features(const std::string& path, std::uint64_t incompatible) {
  if (incompatible & kIncompatibleDataFile)
    return refuse(path, "its data is in an external data file, which is not supported here");
  if (incompatible & kIncompatibleExtendedL2)
    return refuse(path, "it has extended L2 entries, which are not supported here");
  constexpr std::uint64_t kKnown =
      kIncompatibleDirty | kIncompatibleCorrupt | kIncompatibleCompression;
  if (incompatible & ~kKnown)
    return refuse(
        path, fmt::format("it has unknown incompatible features 0x{:x}", incompatible & ~kKnown));
  return sim::ok();
}

sim::Result<> read_version_3(FirstCluster& first, Qcow2Header& header) {
  if (header.version < 3) {
    header.refcount_order = 4;
    header.header_length = 72;
    return sim::ok();
  }
  const sim::Bytes bytes = first.bytes;
  TRY_OK(check_features(first.path, sim::load_be<std::uint64_t>(bytes, 72)));
  header.refcount_order = sim::load_be<std::uint32_t>(bytes, 96);
  header.header_length = sim::load_be<std::uint32_t>(bytes, 100);
  if (header.refcount_order > 6) return refuse(first.path, "its refcounts are wider than 64 bits");
  if (header.header_length < 104 || header.header_length > header.cluster_size())
    return refuse(first.path, "its header length is out of range");
  return sim::ok();
}

sim::Result<> read_extensions(FirstCluster& first, Qcow2Header& header) {
  std::uint64_t at = header.header_length;
  for (;;) {
    TRY(const bool room, first.reach(at + 8));
    if (!room) return sim::ok();  // the cluster's end ends the list, too
    const auto type = sim::load_be<std::uint32_t>(first.bytes, at);
    const auto length = sim::load_be<std::uint32_t>(first.bytes, at + 4);
    if (type == kExtensionEnd) return sim::ok();
    TRY(const bool fits, first.reach(at + 8 + length));
    if (!fits) return refuse(first.path, "a header extension runs past the first cluster");
    if (type == kExtensionBackingFormat) header.backing_format = first.text(at + 8, length);
    if (type == kExtensionEncryption && length == 16) {
      header.luks_offset = sim::load_be<std::uint64_t>(first.bytes, at + 8);
      header.luks_length = sim::load_be<std::uint64_t>(first.bytes, at + 16);
    }
    if (type == kExtensionBitmaps)
      return refuse(first.path, "it has persistent bitmaps, which are not supported here");
    at += 8 + sim::align_up(length, 8);
  }
}

sim::Result<> read_backing_name(FirstCluster& first, Qcow2Header& header) {
  const auto offset = sim::load_be<std::uint64_t>(first.bytes, 8);
  const auto length = sim::load_be<std::uint32_t>(first.bytes, 16);
  if (offset == 0) return sim::ok();
  if (length > kMostBackingName)
    return refuse(first.path, "its backing file's name is longer than 1023 bytes");
  const auto end = sim::checked_add(offset, length);
  if (!end) return refuse(first.path, "its backing file's name is outside the first cluster");
  TRY(const bool fits, first.reach(*end));
  if (!fits) return refuse(first.path, "its backing file's name is outside the first cluster");
  header.backing_file = first.text(offset, length);
  return sim::ok();
}

sim::Result<> check_tables(const std::string& path, std::uint64_t file_size,
                           const Qcow2Header& header) {
  const std::uint64_t cluster = header.cluster_size();
  if (header.size >> 63) return refuse(path, "its virtual size is out of range");
  if (std::uint64_t{header.l1_size} * 8 > kMostL1Bytes)
    return refuse(path, "its L1 table is larger than 32 MiB");
  if (header.l1_size < sim::div_up(header.size, cluster * (cluster / 8)))
    return refuse(path, "its L1 table is too small for its virtual size");
  if (!sim::is_aligned(header.l1_offset, cluster))
    return refuse(path, "its L1 table is not aligned to a cluster");
  if (header.refcount_table_clusters == 0) return refuse(path, "it has no refcount table");
  if (header.refcount_table_clusters * cluster > kMostRefcountTableBytes)
    return refuse(path, "its refcount table is larger than 8 MiB");
  if (!sim::is_aligned(header.refcount_table_offset, cluster))
    return refuse(path, "its refcount table is not aligned to a cluster");
  const auto beyond = [file_size](std::uint64_t offset, std::uint64_t length) {
    return offset > file_size || length > file_size - offset;
  };
  if (beyond(header.l1_offset, std::uint64_t{header.l1_size} * 8))
    return refuse(path, "its L1 table lies beyond the end of the file");
  if (beyond(header.refcount_table_offset, 8))
    return refuse(path, "its refcount table lies beyond the end of the file");
  return sim::ok();
}

}  // namespace

sim::Error refuse(const std::string& path, const std::string& reason) {
  return {.desc = path + ": " + reason, .number = EINVAL};
}

sim::Result<Qcow2Header> read_qcow2_header(const Files& files, const std::string& path,
                                           std::uint64_t file_size) {
  if (file_size < 72) return refuse(path, "it is too short for a qcow2 header");
  FirstCluster first{files, path, 512, {}};
  TRY(const bool fits, first.reach(112));
  if (!fits || sim::load_be<std::uint32_t>(first.bytes, 0) != kMagic)
    return refuse(path, "it is not a qcow2 image (bad magic number)");
  const sim::Bytes bytes = first.bytes;
  Qcow2Header header;
  const auto version = sim::load_be<std::uint32_t>(bytes, 4);
  if (version != 2 && version != 3)
    return refuse(path, fmt::format("qcow2 version {} is not supported", version));
  header.version = static_cast<int>(version);
  if (version == 3 && file_size < 104) return refuse(path, "it is too short for a qcow2 header");
  header.cluster_bits = sim::load_be<std::uint32_t>(bytes, 20);
  if (header.cluster_bits < 9 || header.cluster_bits > 21)
    return refuse(path,
                  fmt::format("clusters of 2^{} bytes are not supported", header.cluster_bits));
  header.size = sim::load_be<std::uint64_t>(bytes, 24);
  const auto crypt_method = sim::load_be<std::uint32_t>(bytes, 32);
  header.encrypted = crypt_method == kCryptLuks;
  if (crypt_method != 0 && !header.encrypted)
    return refuse(path, "it is encrypted, which is not supported here");
  header.l1_size = sim::load_be<std::uint32_t>(bytes, 36);
  header.l1_offset = sim::load_be<std::uint64_t>(bytes, 40);
  header.refcount_table_offset = sim::load_be<std::uint64_t>(bytes, 48);
  header.refcount_table_clusters = sim::load_be<std::uint32_t>(bytes, 56);
  header.snapshot_count = sim::load_be<std::uint32_t>(bytes, 60);
  header.snapshots_offset = sim::load_be<std::uint64_t>(bytes, 64);
  if (header.snapshot_count > kMostSnapshots)
    return refuse(path, "it has more than 65536 internal snapshots");
  first.limit = header.cluster_size();
  TRY_OK(read_version_3(first, header));
  TRY_OK(check_tables(path, file_size, header));
  TRY_OK(read_extensions(first, header));
  TRY_OK(read_backing_name(first, header));
  if (header.encrypted && (header.luks_offset == 0 || header.luks_length > file_size ||
                           header.luks_offset > file_size - header.luks_length))
    return refuse(path, "its LUKS area is missing or beyond the end of the file");
  return header;
}

sim::Result<std::vector<std::uint64_t>> read_entries(const Files& files, const std::string& path,
                                                     std::uint64_t offset, std::uint64_t count) {
  std::vector<std::uint64_t> entries;  // up to the last data
  std::uint64_t at = 0;
  TRY_OK(files.visit(path, offset, 8 * count, [&](std::uint64_t length, sim::Bytes bytes) {
    if (!bytes.empty()) {
      entries.resize((at + length) / 8);
      std::memcpy(std::as_writable_bytes(std::span(entries)).subspan(at).data(), bytes.data(),
                  length);
    }
    at += length;
  }));
  std::size_t used = entries.size();
  while (used != 0 && entries[used - 1] == 0) --used;
  entries.resize(used);
  if constexpr (std::endian::native == std::endian::little)
    for (std::uint64_t& entry : entries) entry = __builtin_bswap64(entry);
  return entries;
}

sim::Result<Qcow2Tables> read_qcow2_tables(const Files& files, const std::string& path,
                                           std::uint64_t file_size, const Qcow2Header& header) {
  Qcow2Tables tables;
  TRY(tables.l1, read_entries(files, path, header.l1_offset, header.l1_size));
  const std::uint64_t cluster = header.cluster_size();
  // A sane file holds each table once; this bounds what a hostile one can make us read.
  std::uint64_t left = 2 * file_size + 2 * cluster;
  for (std::uint32_t i = 0; i < tables.l1.size(); ++i) {
    const std::uint64_t offset = tables.l1[i] & kOffsetMask;
    if (offset == 0 || !sim::is_aligned(offset, cluster) || offset >= file_size) continue;
    const std::uint64_t bytes = std::min(cluster, sim::align_up(file_size - offset, 8));
    if (bytes > left) return refuse(path, "its L2 tables are larger than the file");
    left -= bytes;
    Qcow2Tables::L2 table{.l1_index = i, .offset = offset, .entries = {}};
    TRY(table.entries, read_entries(files, path, offset, bytes / 8));
    for (const std::uint64_t entry : table.entries)
      if (entry & kCompressed)
        return refuse(path, "it has compressed clusters, which are not supported here");
    tables.l2.push_back(std::move(table));
  }
  return tables;
}

sim::Result<Qcow2Snapshots> read_qcow2_snapshots(const Files& files, const std::string& path,
                                                 std::uint64_t file_size,
                                                 const Qcow2Header& header) {
  constexpr std::size_t kFixed = 40;
  Qcow2Snapshots snapshots;
  std::uint64_t at = header.snapshots_offset;
  for (std::uint32_t i = 0; i < header.snapshot_count; ++i) {
    std::vector<std::byte> entry(kFixed);
    if (at > file_size || file_size - at < kFixed)
      return refuse(path, "its snapshot table lies beyond the end of the file");
    TRY_OK(files.read(path, at, entry));
    const auto extra = sim::load_be<std::uint32_t>(entry, 36);
    const auto id_length = sim::load_be<std::uint16_t>(entry, 12);
    const auto name_length = sim::load_be<std::uint16_t>(entry, 14);
    const std::uint64_t length = std::uint64_t{kFixed} + extra + id_length + name_length;
    if (file_size - at < length)
      return refuse(path, "its snapshot table lies beyond the end of the file");
    entry.resize(length);
    TRY_OK(files.read(path, at, entry));
    const auto text = [&](std::size_t offset, std::size_t bytes) {
      std::string result(bytes, '\0');
      std::memcpy(result.data(), entry.data() + offset, bytes);
      return result;
    };
    Qcow2Snapshot snapshot{
        .id = text(kFixed + extra, id_length),
        .name = text(kFixed + extra + id_length, name_length),
        .l1_offset = sim::load_be<std::uint64_t>(entry, 0),
        .l1_size = sim::load_be<std::uint32_t>(entry, 8),
        .disk_size = extra >= 16 ? sim::load_be<std::uint64_t>(entry, 48) : header.size,
        .tables = {}};
    Qcow2Header view = header;
    view.l1_offset = snapshot.l1_offset;
    view.l1_size = snapshot.l1_size;
    view.size = snapshot.disk_size;
    TRY_OK(check_tables(path, file_size, view));
    TRY(snapshot.tables, read_qcow2_tables(files, path, file_size, view));
    snapshots.all.push_back(std::move(snapshot));
    at += length;
    snapshots.table_length = at - header.snapshots_offset;
    at = header.snapshots_offset + sim::align_up(snapshots.table_length, 8);
  }
  return snapshots;
}

// The same as append_file() where the data is encrypted.  The numbers of sectors are those of the
// file (the format's description, "crypt_method").
static sim::Result<> append_encrypted(Content& content, const Files& files, const std::string& path,
                                      std::uint64_t offset, std::uint64_t length,
                                      const SectorKey& key) {
  std::vector<std::byte> data(length);
  TRY_OK(files.read(path, offset, data));
  key.decrypt(offset / SectorKey::kSector, data);
  append_data(content, data, false);
  return sim::ok();
}

sim::Result<Content> read_qcow2_content(const Files& files, const std::string& path,
                                        const Qcow2Header& header, const Qcow2Tables& tables,
                                        const SectorKey* key) {
  Content content;
  const std::uint64_t cluster = header.cluster_size();
  const std::uint64_t per_table = cluster / 8;
  std::uint64_t at = 0;  // guest offset so far
  for (const Qcow2Tables::L2& table : tables.l2) {
    const std::uint64_t start = table.l1_index * per_table * cluster;
    if (start >= header.size) break;
    append_hole(content, start - at, Kind::absent);
    at = start;
    for (std::size_t i = 0; i < table.entries.size() && at < header.size;) {
      const std::uint64_t entry = table.entries[i];
      const std::uint64_t host = entry & kOffsetMask;
      const bool zero = header.version >= 3 && (entry & kReadsAsZero) != 0;
      std::size_t count = 1;  // clusters that follow one another here and in the file
      if (!zero && host != 0) {
        if (!sim::is_aligned(host, cluster))
          return refuse(path, fmt::format("the L2 entry of guest offset {} is not aligned", at));
        while (i + count < table.entries.size() &&
               (header.version < 3 || (table.entries[i + count] & kReadsAsZero) == 0) &&
               (table.entries[i + count] & kOffsetMask) == host + count * cluster)
          ++count;
      }
      const std::uint64_t length = std::min(count * cluster, header.size - at);
      if (zero)
        append_hole(content, length, Kind::zero);
      else if (host == 0)
        append_hole(content, length, Kind::absent);
      else if (key != nullptr)
        TRY_OK(append_encrypted(content, files, path, host, length, *key));
      else
        TRY_OK(append_file(content, files, path, host, length, false));
      at += length;
      i += count;
    }
  }
  append_hole(content, header.size - at, Kind::absent);
  return content;
}

}  // namespace conformance::inspect
