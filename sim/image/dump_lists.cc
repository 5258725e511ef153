// Snapshots and bitmaps: lists of entries of their own length, and the tables that they name.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/image/dumper.h"
#include "sim/qcow2/format.h"

namespace sim::image {

namespace format = qcow2::format;

Task<void> Dumper::snapshots() {
  namespace at = format::snapshot_at;
  const bool shown = wants(DumpSection::snapshots);
  if (shown) sink_.section(DumpSection::snapshots);
  std::uint64_t place = stored_.snapshots_offset;
  const std::uint64_t count = std::min(stored_.snapshots, format::kSnapshotsMax);
  for (std::uint64_t i = 0; i < count && !exhausted_; ++i) {
    std::array<std::byte, format::kSnapshotHeaderBytes> head{};
    if (!co_await read(place, head, "snapshot table")) co_return;
    const auto extra_size = load_be<std::uint32_t>(head, at::extra_size);
    const auto id_size = load_be<std::uint16_t>(head, at::id_size);
    const auto name_size = load_be<std::uint16_t>(head, at::name_size);
    std::vector<std::byte> texts(std::size_t{id_size} + name_size);
    const std::uint64_t bytes = head.size() + extra_size + texts.size();
    if (!co_await read(place + head.size() + extra_size, texts, "snapshot table")) co_return;
    const std::string id = escaped(Bytes(texts).first(id_size));
    const std::string name = escaped(Bytes(texts).subspan(id_size));
    Tree tree{.l1 = load_be<std::uint64_t>(head, at::l1_table_offset),
              .entries = load_be<std::uint32_t>(head, at::l1_size),
              .owner = fmt::format("snapshot {} ", id)};
    DumpRecord record{.kind = "snapshot",
                      .offset = place,
                      .bytes = bytes,
                      .name = fmt::format("snapshot {} '{}'", id, name),
                      .meaning = fmt::format(
                          "L1 table at {:#x}, {} entries; {} s, {} bytes of extra data", tree.l1,
                          tree.entries, load_be<std::uint32_t>(head, at::date_seconds), extra_size),
                      .fields = {{"id", id},
                                 {"name", name},
                                 {"l1-offset", tree.l1},
                                 {"l1-size", tree.entries},
                                 {"date-sec", load_be<std::uint32_t>(head, at::date_seconds)},
                                 {"date-nsec", load_be<std::uint32_t>(head, at::date_nanoseconds)},
                                 {"vm-clock-ns", load_be<std::uint64_t>(head, at::vm_clock)},
                                 {"extra-bytes", extra_size}}};
    describe_place(record.problems, tree.l1, cluster_bytes());
    if (place + bytes > file_.size()) record.problems.emplace_back("beyond the end of the file");
    if (shown) begin(std::move(record));
    co_await l1(tree);
    if (traces()) co_await l2_tables(tree);
    place += align_up(bytes, 8);
    if (place > file_.size()) break;  // nothing but zeroes follows
  }
  if (traces())
    use(ClusterUse::Kind::snapshot_table, stored_.snapshots_offset,
        place - stored_.snapshots_offset, "snapshot table");
}

Task<void> Dumper::bitmaps() {
  namespace at = format::bitmap_at;
  const bool shown = wants(DumpSection::bitmaps);
  if (shown) sink_.section(DumpSection::bitmaps);
  if (stored_.bitmaps == 0) co_return;
  std::uint64_t place = stored_.bitmap_directory;
  const std::uint64_t end =
      place + std::min(stored_.bitmap_directory_bytes, format::kBitmapDirectoryBytesMax);
  if (traces()) use(ClusterUse::Kind::bitmap_directory, place, end - place, "bitmap directory");
  while (place + format::kBitmapHeadBytes <= std::min(end, file_.size()) && !exhausted_) {
    std::array<std::byte, format::kBitmapHeadBytes> head{};
    if (!co_await read(place, head, "bitmap directory")) co_return;
    const auto extra_size = load_be<std::uint32_t>(head, at::extra_data_size);
    std::vector<std::byte> raw_name(load_be<std::uint16_t>(head, at::name_size));
    if (!co_await read(place + head.size() + extra_size, raw_name, "bitmap directory")) co_return;
    const std::string name = escaped(raw_name);
    const auto flags = load_be<std::uint32_t>(head, at::flags);
    const auto table = load_be<std::uint64_t>(head, at::table_offset);
    const auto entries = load_be<std::uint32_t>(head, at::table_size);
    const auto bits = std::to_integer<unsigned>(head[at::granularity_bits]);
    const std::uint64_t bytes = align_up(head.size() + extra_size + raw_name.size(), 8);
    std::string state = (flags & format::kBitmapInUse) != 0 ? "in use" : "saved";
    if ((flags & format::kBitmapAuto) != 0) state += ", auto";
    DumpRecord record{
        .kind = "bitmap",
        .offset = place,
        .bytes = bytes,
        .name = fmt::format("bitmap '{}'", name),
        .value = fmt::format("flags {:#x}", flags),
        .meaning = fmt::format("{}; {} a bit; table at {:#x}, {} entries", state,
                               bits < 64 ? fmt::format("{} bytes", std::uint64_t{1} << bits)
                                         : fmt::format("2^{} bytes", bits),
                               table, entries),
        .fields = {{"name", name},
                   {"flags", flags},
                   {"granularity-bits", bits},
                   {"table", table},
                   {"entries", entries},
                   {"extra-bytes", extra_size},
                   {"type", std::to_integer<unsigned>(head[at::type])}}};
    describe_place(record.problems, table, cluster_bytes());
    if (bits < format::kBitmapGranularityBitsMin || bits > format::kBitmapGranularityBitsMax)
      record.problems.emplace_back("granularity not 2^9 to 2^31");
    if (head[at::type] != std::byte{format::kBitmapDirtyTracking})
      record.problems.emplace_back("unknown type");
    if (place + bytes > end) record.problems.emplace_back("runs past the directory");
    if ((flags & format::kBitmapInUse) != 0)
      record.problems.emplace_back("not saved cleanly: its bits mean nothing");
    if (shown) begin(std::move(record));
    co_await bitmap_table(name, table, entries);
    place += bytes;
  }
}

Task<void> Dumper::bitmap_table(std::string name, std::uint64_t table, std::uint64_t entries) {
  const bool shown = wants(DumpSection::bitmaps);
  constexpr std::uint64_t kPart = 8192;
  if (traces())
    use(ClusterUse::Kind::bitmap_table, table,
        std::min(entries, format::kBitmapTableEntriesMax) * format::kEntryBytes,
        fmt::format("table of bitmap '{}'", name));
  std::vector<std::byte> part;
  for (std::uint64_t first = 0; first < entries && !exhausted_; first += kPart) {
    const std::uint64_t start = table + first * format::kEntryBytes;
    if (start >= file_.size()) co_return;  // zeroes
    part.resize(std::min(kPart, entries - first) * format::kEntryBytes);
    if (!co_await read(start, part, "bitmap table")) co_return;
    for (std::uint64_t i = 0; i * format::kEntryBytes < part.size() && !exhausted_;) {
      const auto word = load_be<std::uint64_t>(part, i * format::kEntryBytes);
      const std::uint64_t host = word & format::kOffsetMask;
      std::uint64_t count = 1;
      while (host == 0 && (i + count) * format::kEntryBytes < part.size() &&
             load_be<std::uint64_t>(part, (i + count) * format::kEntryBytes) == word)
        ++count;
      DumpRecord record{.kind = "bitmap-table-entry",
                        .offset = start + i * format::kEntryBytes,
                        .bytes = count * format::kEntryBytes,
                        .name = index_range(first + i, count),
                        .value = fmt::format("{:016x}", word),
                        .meaning = host != 0   ? fmt::format("bits at {:#x}", host)
                                   : word == 0 ? "no bit is set"
                                               : "all bits are set",
                        .fields = {{"index", first + i},
                                   {"count", count},
                                   {"host", host},
                                   {"all-ones", host == 0 && word == format::kBitmapAllOnes}}};
      if (host != 0) describe_place(record.problems, host, cluster_bytes());
      const std::uint64_t allowed = host != 0 ? format::kOffsetMask : format::kBitmapAllOnes;
      if ((word & ~allowed) != 0) record.problems.emplace_back("reserved bits are set");
      if (shown) show(std::move(record));
      if (host != 0 && traces())
        use(ClusterUse::Kind::bitmap_data, host, cluster_bytes(),
            fmt::format("bits of bitmap '{}', part {}", name, first + i));
      i += count;
    }
  }
}

}  // namespace sim::image
