// virDomainSnapshotDelete: internal ones are taken out of their images, an external one's overlays
// are committed into what is beneath them.

#include <algorithm>
#include <utility>

#include "conformance/domain/domain.h"
#include "conformance/domain/reply.h"
#include "conformance/domain/snapshot_errors.h"

namespace conformance {

namespace {

constexpr std::uint32_t kSupported =
    kSnapshotDeleteChildren | kSnapshotDeleteMetadataOnly | kSnapshotDeleteChildrenOnly;
constexpr unsigned kMaxEvents = 10'000;

Source* image_at(Source& top, const std::string& path) {
  for (Source* source = &top; source != nullptr; source = source->beneath.get())
    if (source->path == path) return source;
  return nullptr;
}

}  // namespace

DomainResult<std::vector<SnapshotInfo>> Domain::snapshots() {
  std::vector<SnapshotInfo> infos;
  for (const std::string& name : snapshots_.names({}, 0))
    infos.push_back(
        {name, snapshots_.find(name)->parent, snapshots_.current() == snapshots_.find(name)});
  return infos;
}

DomainResult<void> Domain::snapshot_delete(const std::string& name, std::uint32_t flags) {
  if (auto taken = take_events(); !taken) return taken;
  const Snapshot* snapshot = snapshots_.find(name);
  if (snapshot == nullptr) return errors::no_snapshot(name);
  const bool with_children = (flags & kSnapshotDeleteChildren) != 0;
  const bool children_alone = (flags & kSnapshotDeleteChildrenOnly) != 0;
  const bool metadata_alone = (flags & kSnapshotDeleteMetadataOnly) != 0;
  if (with_children && children_alone)
    return errors::flags_exclude("DOMAIN_SNAPSHOT", "VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN",
                                 "VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN_ONLY");
  if ((flags & ~kSupported) != 0)
    return errors::unsupported_flags(flags & ~kSupported, "qemuSnapshotDelete");
  if (!metadata_alone)
    if (auto fit = check_delete(*snapshot, flags); !fit) return fit;
  std::vector<std::string> names;
  if (with_children || children_alone)
    for (const Snapshot* below : snapshots_.descendants_of(name)) names.push_back(below->name);
  if (!children_alone) names.push_back(name);
  for (const std::string& one : names) {
    if (!metadata_alone)
      if (auto gone = delete_images(one); !gone) return gone;
    snapshots_.discard(one);
    save();
  }
  return {};
}

DomainResult<void> Domain::check_delete(const Snapshot& snapshot, std::uint32_t flags) const {
  const bool is_external = snapshot.is_external();
  for (const Disk& disk : disks_) {
    const SnapshotDiskRecord* record = snapshot.disk(disk.target);
    if (!is_external && record != nullptr && record->mode == SnapshotMode::internal &&
        disk.source->path != snapshot.sources.at(disk.target).path)
      return errors::internal_elsewhere(disk.target, snapshot.name);
  }
  const bool any_job = std::ranges::any_of(disks_, [](const Disk& disk) { return !!disk.job; });
  if (is_external && any_job) return errors::job_forbids_delete();
  if ((flags & (kSnapshotDeleteChildren | kSnapshotDeleteChildrenOnly)) == 0) return {};
  for (const Snapshot* below : snapshots_.descendants_of(snapshot.name))
    if (below->is_external()) return errors::external_children();
  if (is_external && (flags & kSnapshotDeleteChildren) != 0)
    return errors::external_with_children();
  return {};
}

DomainResult<void> Domain::delete_images(const std::string& name) {
  const Snapshot& snapshot = *snapshots_.find(name);
  if (snapshot.is_external()) {
    auto merges = plan_merges(snapshot);
    if (!merges) return std::unexpected(std::move(merges).error());
    snapshots_.set_merging(name);
    return merge_overlays(*merges);
  }
  auto said = execute("human-monitor-command", {{"command-line", "delvm \"" + name + "\""}});
  if (!said) return std::unexpected(std::move(said).error());
  const std::string text = said->is_string() ? said->get<std::string>() : std::string();
  if (!text.empty()) return errors::delete_failed(text);
  return {};
}

DomainResult<std::vector<Domain::Merge>> Domain::plan_merges(const Snapshot& snapshot) {
  std::vector<Merge> merges;
  for (const SnapshotDiskRecord& record : snapshot.disks) {
    if (record.mode == SnapshotMode::none) continue;
    auto disk = find(record.target);
    if (!disk) return std::unexpected(std::move(disk).error());
    Source& top = *(*disk)->source;
    Source* overlay = image_at(top, record.path);
    const std::string& source = snapshot.sources.at(record.target).path;
    // An earlier attempt came so far.
    if (overlay == nullptr && record.merging && image_at(top, source) != nullptr) continue;
    if (overlay == nullptr) return errors::overlay_not_in_chain();
    if (!overlay->beneath) return errors::nothing_beneath_overlay();
    if (overlay->beneath->path != source) return errors::other_beneath_overlay();
    for (const Snapshot* above = snapshots_.find(snapshot.parent); above != nullptr;
         above = snapshots_.find(above->parent)) {
      const SnapshotDiskRecord* there = above->disk(record.target);
      if (there == nullptr || there->mode == SnapshotMode::none) continue;
      if (!above->is_external()) return errors::internal_parent();
      break;
    }
    merges.push_back({*disk, overlay});
  }
  return merges;
}

DomainResult<void> Domain::merge_overlays(const std::vector<Merge>& merges) {
  DomainResult<void> done;
  for (const Merge& merge : merges) {
    const bool is_active = merge.overlay == merge.disk->source.get();
    done = start_commit(
        *merge.disk,
        {.top = merge.overlay, .base = merge.overlay->beneath.get(), .flags = kCommitDelete},
        !is_active);
    if (!done) break;
  }
  // None of them ends before all of them can.
  for (const Merge& merge : merges)
    if (done) done = wait_for_merge(*merge.disk);
  for (const Merge& merge : merges) {
    if (!done) break;
    Job& job = *merge.disk->job;
    if (job.waits) {
      auto finalized = execute("job-finalize", {{"id", job.id}});
      if (!finalized) done = std::unexpected(std::move(finalized).error());
    } else {
      done = pivot(job);
    }
    if (!done) break;
    auto end = wait_for_end(*merge.disk);
    if (!end) return std::unexpected(std::move(end).error());
    if (end->failed) done = errors::merge_failed(merge.disk->target, end->error);
  }
  if (done || std::holds_alternative<TargetFailure>(done.error())) return done;
  for (const Merge& merge : merges) {
    if (!merge.disk->job) continue;
    merge.disk->job->state = JobState::aborting;
    save();
    auto cancelled = execute_ignoring("block-job-cancel", {{"device", merge.disk->job->id}});
    if (!cancelled) return cancelled;
    if (auto end = wait_for_end(*merge.disk); !end) return std::unexpected(std::move(end).error());
  }
  return done;
}

// Until it could end: the active image is mirrored, or job-finalize is all that is missing.
DomainResult<void> Domain::wait_for_merge(Disk& disk) {
  const std::string what = "job " + disk.job->id + " to be ready";
  for (unsigned seen = 0; seen < kMaxEvents; ++seen) {
    if (!disk.job) return errors::merge_failed(disk.target, disk.last_end.error);
    if (disk.job->state == JobState::ready || disk.job->state == JobState::pending) return {};
    if (auto waited = wait_for_event(what); !waited) return waited;
  }
  return std::unexpected(TargetFailure{TargetFailure::Kind::hang, "waiting for " + what});
}

}  // namespace conformance
