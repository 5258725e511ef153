// A check of the snapshot table, and its repair: before and after everything else.

#include "sim/qcow2/checker.h"
#include "sim/qcow2/format.h"
#include "sim/qcow2/refcounts.h"
#include "sim/qcow2/tables.h"

namespace sim::qcow2 {

Task<Result<>> Checker::read_snapshots() {
  const auto refuse = [this](const Error& error, const char* prefix) {
    say("{}{}", prefix, error.desc);
    ++result_.check_errors;
    return error;
  };
  if (header_.snapshots_offset.value >
          INT64_MAX - header_.nb_snapshots * format::kSnapshotHeaderBytes ||
      geometry_.within(header_.snapshots_offset) != 0)
    co_return refuse({ErrorClass::generic, "snapshot table offset invalid", EINVAL},
                     "qemu-img: ERROR ");
  if (header_.nb_snapshots == 0) co_return ok();
  if (header_.nb_snapshots > format::kSnapshotsMax) {
    const std::uint64_t extra = header_.nb_snapshots - format::kSnapshotsMax;
    if (!repairs_all())
      co_return refuse(
          {ErrorClass::generic,
           fmt::format(
               "snapshot table too large\nYou can force-remove all {} overhanging snapshots "
               "with qemu-img check -r all",
               extra),
           EFBIG},
          "qemu-img: ERROR ");
    say("Discarding {} overhanging snapshots", extra);
    snapshot_corruptions_ += extra;
    header_.nb_snapshots = format::kSnapshotsMax;
  }
  auto table = co_await read_snapshot_table(file_, header_, repairs_all(),
                                            [this](std::string_view text) { say("{}", text); });
  if (!table)
    co_return refuse(table.error(), "qemu-img: ERROR failed to read the snapshot table: ");
  snapshots_ = std::move(table->snapshots);
  snapshot_table_bytes_ = table->bytes;
  snapshot_corruptions_ += table->discarded;
  header_.nb_snapshots = static_cast<std::uint32_t>(snapshots_.size());
  if (header_.version < 3) co_return ok();
  for (std::size_t i = 0; i < snapshots_.size(); ++i) {
    if (snapshots_[i].size) continue;
    say("{} snapshot table entry {} is incomplete", repairs_all() ? "Repairing" : "ERROR", i);
    ++snapshot_corruptions_;
  }
  co_return ok();
}

Task<Result<>> Checker::repair_snapshots() {
  if (snapshot_corruptions_ == 0 || !repairs_all()) {
    result_.corruptions += snapshot_corruptions_;
    co_return ok();
  }
  Tables tables(file_, geometry_);
  Refcounts refcounts(file_, tables, header_);
  const std::uint64_t size = align_down(header_.size, format::kSector);
  auto old = co_await store_snapshots(file_, tables, refcounts, header_, snapshots_, size);
  if (!old) {
    say("ERROR failed to update snapshot table: {}", old.error().desc);
    co_return std::move(old).error();
  }
  const auto released = co_await refcounts.release(
      geometry_.cluster_of(*old), geometry_.clusters_for(snapshot_table_bytes_), true);
  if (!released) say("qcow2_free_clusters failed: {}", released.error().desc);
  CO_TRY_OK(co_await tables.flush());
  result_.corruptions_fixed += snapshot_corruptions_;
  co_return ok();
}

}  // namespace sim::qcow2
