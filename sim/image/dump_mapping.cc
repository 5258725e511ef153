// L1 and L2 tables, and the way from a byte of the disk to its bytes.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/image/dumper.h"
#include "sim/qcow2/format.h"

namespace sim::image {

namespace format = qcow2::format;
using qcow2::L2Entry;

namespace {

constexpr std::uint64_t kPartEntries = 8192;  // of an L1 table that are read at once
constexpr std::uint64_t kL1EntriesMax = format::kL1BytesMax / format::kEntryBytes;

// spec, "Compressed Clusters Descriptor".
struct Compressed {
  std::uint64_t host = 0, bytes = 0;
};
Compressed compressed_of(std::uint64_t word, std::uint32_t cluster_bits) {
  const std::uint32_t x = 70 - cluster_bits;
  const std::uint64_t host = word & ((std::uint64_t{1} << x) - 1) & (format::kHostOffsetEnd - 1);
  const std::uint64_t sectors = (word & (format::kCompressed - 1)) >> x;
  return {host, (sectors + 1) * format::kSector - host % format::kSector};
}

}  // namespace

Task<void> Dumper::l1(Tree tree) {
  const bool shown = wants(tree.active() ? DumpSection::l1 : DumpSection::snapshots);
  const auto kind = tree.active() ? ClusterUse::Kind::l1 : ClusterUse::Kind::snapshot_l1;
  DumpRecord table{.kind = "l1-table",
                   .offset = tree.l1,
                   .bytes = tree.entries * format::kEntryBytes,
                   .name = tree.owner + "L1 table",
                   .meaning = fmt::format("{} entries, {} bytes of disk each", tree.entries,
                                          geometry_.l1_span()),
                   .fields = {{"owner", tree.owner}}};
  if (tree.entries > kL1EntriesMax) table.problems.emplace_back("more entries than QEMU opens");
  if (tree.entries > 0) describe_place(table.problems, tree.l1, cluster_bytes());
  if (shown && tree.active()) sink_.section(DumpSection::l1);
  if (shown) begin(std::move(table));
  const std::uint64_t entries = std::min(tree.entries, kL1EntriesMax);
  if (traces()) use(kind, tree.l1, entries * format::kEntryBytes, tree.owner + "L1 table");
  std::vector<std::byte> part;
  for (std::uint64_t first = 0; shown && first < entries && !exhausted_; first += kPartEntries) {
    part.resize(std::min(kPartEntries, entries - first) * format::kEntryBytes);
    if (!co_await read(tree.l1 + first * format::kEntryBytes, part, "L1 table")) co_return;
    const std::uint64_t here = part.size() / format::kEntryBytes;
    for (std::uint64_t i = 0; i < here;) {
      const auto word = load_be<std::uint64_t>(part, i * format::kEntryBytes);
      std::uint64_t count = 1;
      while (word == 0 && i + count < here &&
             load_be<std::uint64_t>(part, (i + count) * format::kEntryBytes) == 0)
        ++count;
      const std::uint64_t index = first + i, host = word & format::kOffsetMask;
      DumpRecord record{
          .kind = "l1-entry",
          .offset = tree.l1 + index * format::kEntryBytes,
          .bytes = count * format::kEntryBytes,
          .name = index_range(index, count),
          .value = fmt::format("{:016x}", word),
          .meaning = host == 0 ? "no L2 table"
                               : fmt::format("L2 table at {:#x}{}", host,
                                             (word & format::kCopied) != 0 ? ", copied" : ""),
          .fields = {{"index", index},
                     {"count", count},
                     {"guest", index * geometry_.l1_span()},
                     {"table", host},
                     {"copied", (word & format::kCopied) != 0}}};
      if (host != 0) describe_place(record.problems, host, cluster_bytes());
      if ((word & ~(format::kOffsetMask | format::kCopied)) != 0)
        record.problems.emplace_back("reserved bits are set");
      if (co_await wrong_copied(tree, word, host))
        record.problems.emplace_back("COPIED does not agree with the refcount");
      show(std::move(record));
      i += count;
    }
  }
}

// spec, "COPIED": the refcount is exactly 1; of the active tables only.
Task<bool> Dumper::wrong_copied(const Tree& tree, std::uint64_t word, std::uint64_t host) {
  if (!tree.active() || host == 0 || host % cluster_bytes() != 0) co_return false;
  const auto count = co_await count_of(host >> geometry_.cluster_bits);
  co_return count && (*count == 1) != ((word & format::kCopied) != 0);
}

Task<void> Dumper::l2_tables(Tree tree) {
  const bool shown = wants(DumpSection::l2);
  if (!shown && !traces()) co_return;
  if (shown && tree.active()) sink_.section(DumpSection::l2);
  const std::uint64_t entries = std::min(tree.entries, kL1EntriesMax);
  std::vector<std::byte> part;
  for (std::uint64_t first = 0; first < entries && !exhausted_; first += kPartEntries) {
    part.resize(std::min(kPartEntries, entries - first) * format::kEntryBytes);
    work_ += part.size();
    if (!(co_await file_.read(tree.l1 + first * format::kEntryBytes, part)).ok()) continue;
    for (std::uint64_t i = 0; i * format::kEntryBytes < part.size() && !exhausted_; ++i) {
      const std::uint64_t table =
          load_be<std::uint64_t>(part, i * format::kEntryBytes) & format::kOffsetMask;
      if (table != 0) co_await l2_table(tree, first + i, table);
    }
  }
}

// Two entries of one record: the same, or one behind the other in the file.
bool Dumper::continues(const Entry& run, const Entry& next) const {
  if (run.wrong_copied != next.wrong_copied || run.entry.bitmap != next.entry.bitmap ||
      run.entry.compressed() || next.entry.compressed())
    return false;
  const std::uint64_t step = run.entry.host().value == 0 ? 0 : run.count * cluster_bytes();
  return next.entry.word == run.entry.word + step;
}

Task<void> Dumper::l2_table(const Tree& tree, std::uint64_t index, std::uint64_t table) {
  const bool again = !seen_tables_.insert(table).second;
  const bool shown = wants(DumpSection::l2);
  constexpr std::size_t kTablesMax = 500'000;
  exhausted_ = exhausted_ || seen_tables_.size() > kTablesMax;
  const std::uint64_t guest = index * geometry_.l1_span();
  if (traces())
    use(ClusterUse::Kind::l2, table, cluster_bytes(),
        fmt::format("{}L2 table of L1 entry {}, guest {:#x}", tree.owner, index, guest));
  DumpRecord head{.kind = "l2-table",
                  .offset = table,
                  .bytes = cluster_bytes(),
                  .name = fmt::format("{}L2 table of [{}]", tree.owner, index),
                  .meaning = fmt::format("guest {:#x}{}", guest, again ? ", shown before" : ""),
                  .fields = {{"l1-index", index}, {"guest", guest}, {"owner", tree.owner}}};
  if (again && tree.active()) head.problems.emplace_back("another entry has this table, too");
  describe_place(head.problems, table, cluster_bytes());
  if (shown) begin(std::move(head));
  if (again && !traces()) co_return;
  std::vector<std::byte> bytes(cluster_bytes());
  if (!co_await read(table, bytes, "L2 table")) co_return;
  const std::uint64_t entry_bytes = geometry_.l2_entry_bytes();
  std::optional<Entry> run;
  for (std::uint64_t i = 0; i < geometry_.l2_entries() && !exhausted_; ++i) {
    Entry next{.index = i, .count = 1};
    next.entry.word = load_be<std::uint64_t>(bytes, i * entry_bytes);
    if (geometry_.extended_l2)
      next.entry.bitmap = load_be<std::uint64_t>(bytes, i * entry_bytes + 8);
    if (!next.entry.compressed() && shown && !has_data_file())
      next.wrong_copied = co_await wrong_copied(tree, next.entry.word, next.entry.host().value);
    if (run && continues(*run, next)) {
      ++run->count;
      continue;
    }
    if (run && shown && !again) show_entries(tree, table, guest, *run);
    if (run && traces()) use_entry(tree, guest, *run);
    run = next;
  }
  if (run && shown && !again) show_entries(tree, table, guest, *run);
  if (run && traces()) use_entry(tree, guest, *run);
}

std::string Dumper::describe(const Entry& run, Json& fields) const {
  const L2Entry entry = run.entry;
  if (entry.compressed()) {
    const Compressed place = compressed_of(entry.word, geometry_.cluster_bits);
    fields.update({{"type", "compressed"}, {"host", place.host}, {"host-bytes", place.bytes}});
    return fmt::format("compressed at {:#x}, at most {} bytes", place.host, place.bytes);
  }
  const bool zero = !geometry_.extended_l2 && (entry.word & format::kZero) != 0;
  const bool placed = entry.host().value != 0 || (has_data_file() && entry.copied() && !zero);
  std::string type = zero ? "zero" : placed ? "data" : "absent";
  std::string text = type;
  if (placed) {
    fields["host"] = entry.host().value;
    text += fmt::format("{} at {:#x}{}", zero ? ", keeps a cluster" : "", entry.host().value,
                        entry.copied() ? ", copied" : "");
  }
  if (geometry_.extended_l2) {
    const auto allocated = static_cast<std::uint32_t>(entry.bitmap);
    const auto zeroes = static_cast<std::uint32_t>(entry.bitmap >> format::kSubclusters);
    fields.update({{"allocated-subclusters", allocated}, {"zero-subclusters", zeroes}});
    if (entry.bitmap != 0 && allocated != UINT32_MAX)
      text += fmt::format("; subclusters {:08x} allocated, {:08x} zero", allocated, zeroes);
    if (zeroes == UINT32_MAX && !placed) type = "zero";
  }
  fields.update({{"type", type}, {"copied", entry.copied()}});
  return text;
}

std::vector<std::string> Dumper::entry_problems(const Entry& run) const {
  std::vector<std::string> problems;
  const L2Entry entry = run.entry;
  if (entry.compressed()) {
    const Compressed place = compressed_of(entry.word, geometry_.cluster_bits);
    describe_place(problems, place.host, 1);
    if (entry.copied()) problems.emplace_back("COPIED is set on a compressed cluster");
    if (entry.bitmap != 0) problems.emplace_back("subclusters of a compressed cluster");
    if (has_data_file()) problems.emplace_back("compressed beside an external data file");
    return problems;
  }
  const std::uint64_t zero = geometry_.extended_l2 || stored_.version < 3 ? 0 : format::kZero;
  if ((entry.word & ~(format::kOffsetMask | format::kCopied | zero)) != 0)
    problems.emplace_back("reserved bits are set");
  if (entry.host().value != 0 && !has_data_file())
    describe_place(problems, entry.host().value, cluster_bytes());
  if ((entry.bitmap & entry.bitmap >> format::kSubclusters & UINT32_MAX) != 0)
    problems.emplace_back("subclusters both allocated and zero");
  if (run.wrong_copied) problems.emplace_back("COPIED does not agree with the refcount");
  return problems;
}

void Dumper::show_entries(const Tree& tree, std::uint64_t table, std::uint64_t guest,
                          const Entry& run) {
  const std::uint64_t at = guest + run.index * cluster_bytes();
  DumpRecord record{
      .kind = "l2-entry",
      .offset = table + run.index * geometry_.l2_entry_bytes(),
      .bytes = run.count * geometry_.l2_entry_bytes(),
      .name = index_range(run.index, run.count),
      .value = fmt::format("{:016x}", run.entry.word),
      .fields = {{"index", run.index}, {"count", run.count}, {"guest", at}, {"owner", tree.owner}},
      .problems = entry_problems(run)};
  record.meaning = fmt::format("guest {:#x}: {}", at, describe(run, record.fields));
  show(std::move(record));
}

void Dumper::use_entry(const Tree& tree, std::uint64_t guest, const Entry& run) {
  const std::uint64_t at = guest + run.index * cluster_bytes();
  if (run.entry.compressed()) {
    const Compressed place = compressed_of(run.entry.word, geometry_.cluster_bits);
    use(ClusterUse::Kind::compressed, place.host, place.bytes,
        fmt::format("{}compressed data of guest {:#x}", tree.owner, at));
    return;
  }
  if (run.entry.host().value == 0 || has_data_file()) return;
  const std::uint64_t bytes = run.count * cluster_bytes();
  use(ClusterUse::Kind::data, run.entry.host().value, bytes,
      run.count == 1 ? fmt::format("{}data of guest {:#x}", tree.owner, at)
                     : fmt::format("{}data of guest {:#x} to {:#x}", tree.owner, at, at + bytes));
}

Task<void> Dumper::walk_guest() {
  const std::uint64_t guest = *request_.guest;
  const std::uint64_t index = guest / geometry_.l1_span();
  const Tree active;
  std::array<std::byte, 16> raw{};
  if (index >= stored_.l1_size) {
    show({.kind = "guest",
          .meaning = fmt::format("guest {:#x} is in L1 entry {}", guest, index),
          .problems = {fmt::format("the L1 table has {} entries", stored_.l1_size)}});
    co_return;
  }
  const std::uint64_t l1_place = stored_.l1_offset + index * format::kEntryBytes;
  if (!co_await read(l1_place, MutableBytes(raw).first(8), "L1 entry")) co_return;
  const auto l1_word = load_be<std::uint64_t>(raw, 0);
  const std::uint64_t table = l1_word & format::kOffsetMask;
  DumpRecord l1_record{
      .kind = "l1-entry",
      .offset = l1_place,
      .bytes = format::kEntryBytes,
      .name = fmt::format("L1 [{}]", index),
      .value = fmt::format("{:016x}", l1_word),
      .meaning = table == 0 ? "no L2 table: absent" : fmt::format("L2 table at {:#x}", table),
      .fields = {{"index", index}, {"table", table}}};
  if (table != 0) describe_place(l1_record.problems, table, cluster_bytes());
  show(std::move(l1_record));
  if (table == 0) co_return;
  const std::uint64_t within_table = guest % geometry_.l1_span() / cluster_bytes();
  Entry run{.index = within_table, .count = 1};
  const std::uint64_t l2_place = table + within_table * geometry_.l2_entry_bytes();
  if (!co_await read(l2_place, MutableBytes(raw).first(geometry_.l2_entry_bytes()), "L2 entry"))
    co_return;
  run.entry.word = load_be<std::uint64_t>(raw, 0);
  if (geometry_.extended_l2) run.entry.bitmap = load_be<std::uint64_t>(raw, 8);
  show_entries(active, table, index * geometry_.l1_span(), run);
  if (run.entry.compressed() || run.entry.host().value == 0 || has_data_file()) co_return;
  const std::uint64_t place = run.entry.host().value + guest % cluster_bytes();
  std::array<std::byte, 16> data{};
  if (!co_await read(place, data, "data")) co_return;
  std::string hex;
  for (const std::byte byte : data) hex += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  show({.kind = "bytes",
        .offset = place,
        .bytes = data.size(),
        .name = fmt::format("guest {:#x}", guest),
        .meaning = hex,
        .fields = {{"hex", hex}, {"guest", guest}}});
}

}  // namespace sim::image
