// The snapshot table: read, and written anew.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "sim/qcow2/format.h"
#include "sim/qcow2/refcounts.h"
#include "sim/qcow2/snapshot.h"
#include "sim/qcow2/tables.h"

namespace sim::qcow2 {

namespace {

namespace at = format::snapshot_at;

// Reads a file from one place on, in pieces of moderate size.
class Reader {
 public:
  Reader(storage::Storage& file, std::uint64_t at) : file_(file), at_(at) {}
  std::uint64_t position() const { return at_; }
  void skip(std::uint64_t bytes) { at_ += bytes; }

  Task<Result<>> read(MutableBytes into) {
    while (!into.empty()) {
      if (at_ < start_ || at_ >= start_ + buffer_.size()) {
        buffer_.resize(kBytes);
        start_ = at_;
        CO_TRY_OK(co_await file_.read(start_, buffer_));
      }
      const std::uint64_t part = std::min(into.size(), start_ + buffer_.size() - at_);
      std::ranges::copy(Bytes(buffer_).subspan(at_ - start_, part), into.begin());
      into = into.subspan(part);
      at_ += part;
    }
    co_return ok();
  }

 private:
  static constexpr std::size_t kBytes = 16384;
  storage::Storage& file_;
  std::uint64_t at_ = 0, start_ = 0;
  std::vector<std::byte> buffer_;
};

// A text of `bytes` bytes, up to a NUL.
Task<Result<std::string>> read_text(Reader& reader, std::uint16_t bytes) {
  std::string text(bytes, '\0');
  CO_TRY_OK(co_await reader.read(std::as_writable_bytes(std::span(text))));
  text.resize(std::min(text.find('\0'), text.size()));
  text.shrink_to_fit();
  co_return text;
}

void parse_extra(Bytes extra, Snapshot& snapshot) {
  if (extra.size() >= at::extra_vm_state_size + 8)
    snapshot.vm_state_bytes = load_be<std::uint64_t>(extra, at::extra_vm_state_size);
  if (extra.size() >= at::extra_disk_size + 8)
    snapshot.size = load_be<std::uint64_t>(extra, at::extra_disk_size);
  if (extra.size() >= at::extra_icount + 8)
    snapshot.icount = load_be<std::uint64_t>(extra, at::extra_icount);
  if (extra.size() > format::kSnapshotExtraBytes) {
    const Bytes rest = extra.subspan(format::kSnapshotExtraBytes);
    snapshot.unknown_extra.assign(rest.begin(), rest.end());
  }
}

struct Entry {
  Snapshot snapshot;
  std::uint32_t extra_bytes = 0;  // as stored, which may be more than is kept
};

Task<Result<Entry>> read_entry(Reader& reader) {
  std::array<std::byte, format::kSnapshotHeaderBytes> head{};
  CO_TRY_OK(co_await reader.read(head));
  Entry entry{.snapshot = {.l1_table_offset = {load_be<std::uint64_t>(head, at::l1_table_offset)},
                           .l1_size = load_be<std::uint32_t>(head, at::l1_size),
                           .date_seconds = load_be<std::uint32_t>(head, at::date_seconds),
                           .date_nanoseconds = load_be<std::uint32_t>(head, at::date_nanoseconds),
                           .vm_clock_ns = load_be<std::uint64_t>(head, at::vm_clock),
                           .vm_state_bytes = load_be<std::uint32_t>(head, at::vm_state_size)},
              .extra_bytes = load_be<std::uint32_t>(head, at::extra_size)};
  const std::uint64_t kept = std::min<std::uint64_t>(entry.extra_bytes, format::kSnapshotExtraMax);
  std::vector<std::byte> extra(kept);
  CO_TRY_OK(co_await reader.read(extra));
  reader.skip(entry.extra_bytes - kept);
  parse_extra(extra, entry.snapshot);
  const auto id_size = load_be<std::uint16_t>(head, at::id_size);
  const auto name_size = load_be<std::uint16_t>(head, at::name_size);
  CO_TRY(entry.snapshot.id, co_await read_text(reader, id_size));
  CO_TRY(entry.snapshot.name, co_await read_text(reader, name_size));
  co_return entry;
}

Error too_big(std::string text, std::string cure) {
  return {ErrorClass::generic, std::move(text) + "\n" + std::move(cure), EFBIG};
}

}  // namespace

Task<Result<std::vector<Snapshot>>> read_snapshots(storage::Storage& file, const Header& header) {
  CO_TRY(SnapshotTable table, co_await read_snapshot_table(file, header, false, {}));
  co_return std::move(table.snapshots);
}

Task<Result<SnapshotTable>> read_snapshot_table(
    storage::Storage& file, const Header& header, bool repair,
    const std::function<void(std::string_view)>& finding) {
  const auto say = [&finding](const std::string& text) {
    if (finding) finding(text);
  };
  SnapshotTable table;
  const std::uint64_t start = header.snapshots_offset.value;
  Reader reader(file, start);
  std::uint64_t end = start;
  for (std::uint32_t i = 0; i < header.nb_snapshots; ++i) {
    reader.skip(align_up(end - start, 8) - (reader.position() - start));
    CO_TRY(Entry entry, co_await read_entry(reader));
    if (entry.extra_bytes > format::kSnapshotExtraMax) {
      if (!repair)
        co_return too_big(fmt::format("Too much extra metadata in snapshot table entry {}", i),
                          "You can force-remove this extra metadata with qemu-img check -r all");
      say(fmt::format("Discarding too much extra metadata in snapshot table entry {} ({} > {})", i,
                      entry.extra_bytes, format::kSnapshotExtraMax));
      ++table.discarded;
    }
    if (reader.position() - start > format::kSnapshotTableBytesMax) {
      const std::uint32_t rest = header.nb_snapshots - i;
      if (!repair)
        co_return too_big("Snapshot table is too big",
                          fmt::format("You can force-remove all {} overhanging snapshots with "
                                      "qemu-img check -r all",
                                      rest));
      say(fmt::format("Discarding {} overhanging snapshots (snapshot table is too big)", rest));
      table.discarded += rest;
      break;
    }
    end = reader.position();
    table.snapshots.push_back(std::move(entry.snapshot));
  }
  table.bytes = end - start;
  co_return table;
}

Result<std::vector<std::byte>> serialise_snapshots(const std::vector<Snapshot>& snapshots,
                                                   std::uint64_t disk_size) {
  std::vector<std::byte> out;
  for (const Snapshot& snapshot : snapshots) {
    const std::size_t start = align_up(out.size(), 8);
    const std::size_t extra = start + format::kSnapshotHeaderBytes;
    const std::size_t extra_bytes = format::kSnapshotExtraBytes + snapshot.unknown_extra.size();
    out.resize(extra + format::kSnapshotExtraBytes);
    const MutableBytes head = MutableBytes(out).subspan(start);
    store_be(head, at::l1_table_offset, snapshot.l1_table_offset.value);
    store_be(head, at::l1_size, snapshot.l1_size);
    store_be(head, at::id_size, static_cast<std::uint16_t>(snapshot.id.size()));
    store_be(head, at::name_size, static_cast<std::uint16_t>(snapshot.name.size()));
    store_be(head, at::date_seconds, snapshot.date_seconds);
    store_be(head, at::date_nanoseconds, snapshot.date_nanoseconds);
    store_be(head, at::vm_clock, snapshot.vm_clock_ns);
    store_be(head, at::vm_state_size,
             static_cast<std::uint32_t>(
                 snapshot.vm_state_bytes > UINT32_MAX ? 0 : snapshot.vm_state_bytes));
    store_be(head, at::extra_size, static_cast<std::uint32_t>(extra_bytes));
    const MutableBytes data = MutableBytes(out).subspan(extra);
    store_be(data, at::extra_vm_state_size, snapshot.vm_state_bytes);
    store_be(data, at::extra_disk_size, snapshot.size.value_or(disk_size));
    store_be(data, at::extra_icount, snapshot.icount);
    const auto append = [&out](Bytes bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); };
    append(snapshot.unknown_extra);
    append(std::as_bytes(std::span(snapshot.id)));
    append(std::as_bytes(std::span(snapshot.name)));
    if (out.size() > format::kSnapshotTableBytesMax) return os_error(EFBIG);
  }
  return out;
}

Task<Result<HostOffset>> store_snapshots(storage::Storage& file, Tables& tables,
                                         Refcounts& refcounts, Header& header,
                                         const std::vector<Snapshot>& snapshots,
                                         std::uint64_t disk_size) {
  const Geometry geometry = header.geometry();
  CO_TRY(const std::vector<std::byte> bytes, serialise_snapshots(snapshots, disk_size));
  // An empty table is where the next cluster would come from: as QEMU leaves it.
  CO_TRY(const HostCluster first, co_await refcounts.allocate(geometry.clusters_for(bytes.size())));
  const HostOffset offset = geometry.start_of(first);
  if (!bytes.empty()) {
    CO_TRY_OK(co_await tables.flush());
    CO_TRY_OK(co_await file.write(offset.value, bytes));
    CO_TRY_OK(co_await file.flush());
  }
  std::array<std::byte, 12> fields{};
  store_be(MutableBytes(fields), 0, static_cast<std::uint32_t>(snapshots.size()));
  store_be(MutableBytes(fields), 4, offset.value);
  static_assert(format::at::snapshots_offset == format::at::nb_snapshots + 4);
  CO_TRY_OK(co_await file.write(format::at::nb_snapshots, fields));
  CO_TRY_OK(co_await file.flush());
  header.nb_snapshots = static_cast<std::uint32_t>(snapshots.size());
  co_return std::exchange(header.snapshots_offset, offset);
}

}  // namespace sim::qcow2
