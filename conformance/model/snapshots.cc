// Snapshots: their checks in libvirt's order, and what they leave (docs/model.md, 1.8).

#include <algorithm>

#include "conformance/model/predictions.h"
#include "sim/base/check.h"

namespace conformance::model {

namespace {

constexpr std::uint32_t kKnownCreate = (1U << 10) - 1;
constexpr std::uint32_t kKnownDelete = kDeleteChildren | kDeleteMetadataOnly | kDeleteChildrenOnly;
constexpr std::uint32_t kKnownRevert =
    kRevertRunning | kRevertPaused | kRevertForce | kRevertResetNvram;

CallPrediction exclusive(std::string domain, std::string_view one, std::string_view other) {
  return refused(std::move(domain), "INVALID_ARG",
                 fmt::format("Flags 'VIR_DOMAIN_SNAPSHOT_{}' and 'VIR_DOMAIN_SNAPSHOT_{}' are "
                             "mutually exclusive",
                             one, other));
}
CallPrediction required(std::string domain, std::string_view flag, std::string_view by) {
  return refused(std::move(domain), "INVALID_ARG",
                 fmt::format("Flag 'VIR_DOMAIN_SNAPSHOT_CREATE_{}' is required by flag "
                             "'VIR_DOMAIN_SNAPSHOT_CREATE_{}'",
                             flag, by));
}
CallPrediction unsupported(std::string message) {
  return refused("QEMU", "CONFIG_UNSUPPORTED", std::move(message));
}
CallPrediction unknown_snapshot(const std::string& name) {
  return refused("QEMU", "NO_DOMAIN_SNAPSHOT",
                 fmt::format("no domain snapshot with matching name '{}'", name));
}

std::optional<CallPrediction> refuse_flags(std::uint32_t flags, bool persistent) {
  const auto has = [flags](std::uint32_t flag) { return (flags & flag) != 0; };
  if (has(kSnapshotCurrent) && !has(kSnapshotRedefine))
    return required("DOMAIN_SNAPSHOT", "REDEFINE", "CURRENT");
  if (has(kSnapshotRedefine) && has(kSnapshotNoMetadata))
    return exclusive("DOMAIN_SNAPSHOT", "CREATE_REDEFINE", "CREATE_NO_METADATA");
  if (has(kSnapshotRedefine) && has(kSnapshotHalt))
    return exclusive("DOMAIN_SNAPSHOT", "CREATE_REDEFINE", "CREATE_HALT");
  if (const std::uint32_t strange = flags & ~kKnownCreate)
    return unsupported_flags(strange, "qemuSnapshotCreateXML");
  if (has(kSnapshotQuiesce) && !has(kSnapshotDiskOnly))
    return required("QEMU", "DISK_ONLY", "QUIESCE");
  if (has(kSnapshotLive) && has(kSnapshotRedefine))
    return exclusive("QEMU", "CREATE_LIVE", "CREATE_REDEFINE");
  if (has(kSnapshotHalt) && !persistent)
    return refused("QEMU", "OPERATION_INVALID", "cannot halt after transient domain snapshot");
  return std::nullopt;
}

std::optional<CallPrediction> refuse_memory(const SnapshotRequest& request, std::uint32_t flags) {
  const bool disk_only = (flags & kSnapshotDiskOnly) != 0;
  const bool has_memory =
      request.memory == SnapshotMode::internal || request.memory == SnapshotMode::external;
  if (disk_only && has_memory)
    return refused("DOMAIN_SNAPSHOT", "XML_ERROR",
                   "memory state cannot be saved with offline or disk-only snapshot");
  if ((flags & kSnapshotLive) != 0 && request.memory != SnapshotMode::external)
    return refused("QEMU", "OPERATION_UNSUPPORTED",
                   "live snapshot creation is supported only during full system snapshots");
  if (!disk_only && request.memory == SnapshotMode::none)
    return refused("QEMU", "OPERATION_UNSUPPORTED",
                   "internal snapshot of a running VM must include the memory state");
  return std::nullopt;
}

// "snap2.s1" and "s2" make "snap2.s2".
std::string made_up(const std::string& file, const std::string& snapshot) {
  return file.substr(0, file.rfind('.')) + "." + snapshot;
}

}  // namespace

bool DomainModel::Snapshot::is_external() const {
  return std::ranges::any_of(
      disks, [](const auto& disk) { return disk.second.mode == SnapshotMode::external; });
}

std::vector<SnapshotExpectation> DomainModel::snapshots() const {
  std::vector<SnapshotExpectation> all;
  for (const auto& [name, snapshot] : snapshots_)
    all.push_back({name, snapshot.parent, name == current_snapshot_});
  return all;
}

// --- create -----------------------------------------------------------------------------------

CallPrediction DomainModel::snapshot_create(const SnapshotRequest& request, std::uint32_t flags) {
  if (auto refusal = refuse_flags(flags, persistent_)) return *refusal;
  if ((flags & kSnapshotRedefine) != 0) return no_opinion("a snapshot that is defined anew");
  if (request.name.empty()) return no_opinion("the name is the time");
  if (request.name.contains('/') || request.name.starts_with('.'))
    return refused("QEMU", "XML_DETAIL",
                   fmt::format("invalid snapshot name '{}': name can't {}", request.name,
                               request.name.contains('/') ? "contain '/'" : "start with '.'"));
  if (auto refusal = refuse_memory(request, flags)) return *refusal;
  Snapshot plan;
  if (auto refusal = plan_snapshot(request, flags, plan)) return *refusal;
  if (snapshots_.contains(request.name))
    return refused("DOMAIN", "OPERATION_FAILED",
                   fmt::format("domain moment {} already exists", request.name));
  if ((flags & kSnapshotHalt) != 0 || request.memory == SnapshotMode::external)
    return no_opinion("a halt, or memory in a file");
  if (!plan.is_external())
    save_state(request.name);
  else if (auto refusal = make_overlays(plan, (flags & kSnapshotReuseExt) != 0))
    return *refusal;
  if ((flags & kSnapshotNoMetadata) != 0) return {};
  plan.parent = current_snapshot_;
  snapshots_[request.name] = std::move(plan);
  current_snapshot_ = request.name;
  return {};
}

std::optional<CallPrediction> DomainModel::plan_snapshot(const SnapshotRequest& request,
                                                         std::uint32_t flags, Snapshot& plan) {
  const bool is_internal =
      (flags & kSnapshotDiskOnly) == 0 && request.memory != SnapshotMode::external;
  const SnapshotMode usual = is_internal ? SnapshotMode::internal : SnapshotMode::external;
  for (const Disk& it : disks_)
    plan.disks[it.target] = {usual, made_up(it.links.front().file, request.name),
                             it.links.front().file};
  if (request.disks.size() > disks_.size())
    return refused("DOMAIN_SNAPSHOT", "CONFIG_UNSUPPORTED",
                   "too many disk snapshot requests for domain");
  std::map<std::string, Format> formats;
  std::vector<std::string> seen;
  for (const SnapshotRequest::OfDisk& wanted : request.disks) {
    const Disk* it = find(wanted.disk);
    if (it == nullptr)
      return refused("DOMAIN_SNAPSHOT", "CONFIG_UNSUPPORTED",
                     fmt::format("no disk named '{}'", wanted.disk));
    if (std::ranges::find(seen, it->target) != seen.end())
      return refused("DOMAIN_SNAPSHOT", "CONFIG_UNSUPPORTED",
                     fmt::format("disk '{}' specified twice", wanted.disk));
    seen.push_back(it->target);
    Snapshot::OfDisk& of_disk = plan.disks[it->target];
    const bool has_image = !wanted.path.empty() || wanted.format;
    if (wanted.mode != SnapshotMode::unsaid || has_image)
      of_disk.mode = wanted.mode == SnapshotMode::unsaid ? SnapshotMode::external : wanted.mode;
    if (has_image && of_disk.mode != SnapshotMode::external)
      return no_opinion("an image for a disk that is not external");
    if (is_internal && of_disk.mode != SnapshotMode::internal)
      return refused("DOMAIN_SNAPSHOT", "CONFIG_UNSUPPORTED",
                     fmt::format("disk '{}' must use snapshot mode 'internal'", it->target));
    if (wanted.format) formats[it->target] = *wanted.format;
    if (wanted.path.empty()) continue;
    const auto file = name_in_directory(wanted.path);
    if (!file) return no_opinion("an overlay elsewhere");
    of_disk.overlay = *file;
  }
  bool any = request.memory == SnapshotMode::external;
  for (const Disk& it : disks_) {
    const SnapshotMode mode = plan.disks[it.target].mode;
    const auto format = formats.find(it.target);
    if (mode == SnapshotMode::external && !it.job && format != formats.end() &&
        format->second == Format::raw)
      return unsupported(
          fmt::format("external snapshot format for disk {} is unsupported: raw", it.target));
    if (auto refusal = check_snapshot_of(it, plan, flags)) return refusal;
    any = any || mode == SnapshotMode::internal || mode == SnapshotMode::external;
    if (request.memory == SnapshotMode::external && mode == SnapshotMode::internal)
      return unsupported(
          "mixing internal and external targets for a snapshot is not yet supported");
  }
  if (!any) return unsupported("nothing selected for snapshot");
  if ((flags & kSnapshotQuiesce) != 0)
    return refused("QEMU", "OPERATION_INVALID", "domain is not running");
  return std::nullopt;
}

std::optional<CallPrediction> DomainModel::check_snapshot_of(const Disk& it, const Snapshot& plan,
                                                             std::uint32_t flags) {
  const Snapshot::OfDisk& of_disk = plan.disks.at(it.target);
  if (of_disk.mode == SnapshotMode::none) return std::nullopt;
  if (it.job) return busy(it.target, it.job->mirrors());
  const Layer& active = files_.at(it.links.front().file).layer;
  if (of_disk.mode == SnapshotMode::internal) {
    if ((flags & kSnapshotDiskOnly) != 0)
      return unsupported(fmt::format(
          "active qemu domains require external disk snapshots; disk {} requested internal",
          it.target));
    if (active.format() == Format::raw)
      return unsupported(
          fmt::format("internal snapshot for disk {} unsupported for storage type raw", it.target));
    return std::nullopt;
  }
  if (of_disk.mode == SnapshotMode::manual) return std::nullopt;
  const bool reuse = (flags & kSnapshotReuseExt) != 0;
  const auto file = files_.find(of_disk.overlay);
  if (file == files_.end() && reuse)
    return refused("QEMU", "SYSTEM_ERROR",
                   fmt::format("missing existing file for disk {}: {}: No such file or directory",
                               it.target, path(of_disk.overlay)));
  const bool is_empty = file != files_.end() && file->second.layer.format() == Format::raw &&
                        file->second.layer.size() == 0;
  if (file != files_.end() && !is_empty && !reuse)
    return unsupported(fmt::format(
        "external snapshot file for disk {} already exists and is not a block device: {}",
        it.target, path(of_disk.overlay)));
  return std::nullopt;
}

// All or none; numbers that were given stay given.
std::optional<CallPrediction> DomainModel::make_overlays(const Snapshot& plan, bool reuse) {
  std::vector<std::string> overlays;
  for (const Disk& it : disks_) {
    const Snapshot::OfDisk& of_disk = plan.disks.at(it.target);
    if (of_disk.mode != SnapshotMode::external) continue;
    const Layer& active = files_.at(of_disk.source).layer;
    if (std::ranges::find(overlays, of_disk.overlay) != overlays.end() || opened(of_disk.overlay))
      return no_opinion("an overlay that is in use");
    if (active.size() % 512 != 0) return no_opinion("a disk that does not end with a sector");
    overlays.push_back(of_disk.overlay);
    const auto file = files_.find(of_disk.overlay);
    if (reuse && file->second.layer.format() == Format::qcow2 &&
        file->second.layer.size() != active.size())
      return no_opinion("an overlay of another size");
  }
  for (const Disk& it : disks_) {
    if (plan.disks.at(it.target).mode != SnapshotMode::external) continue;
    Job job;
    job.destination = plan.disks.at(it.target).overlay;
    if (auto refusal = refuse_leased(it, job)) return refusal;
  }
  const unsigned first = next_index_;
  for (const std::string& overlay : overlays) {
    ++next_index_;
    if (overlay.contains('/'))
      return refused("QEMU", "SYSTEM_ERROR",
                     fmt::format("failed to create image file '{}': No such file or directory",
                                 path(overlay)));
    if (reuse && files_.at(overlay).layer.format() == Format::raw)
      return refused("QEMU", "INTERNAL_ERROR",
                     "unable to execute QEMU command 'blockdev-add': Image is not in qcow2 format");
  }
  unsigned index = first;
  for (Disk& it : disks_) {
    const Snapshot::OfDisk& of_disk = plan.disks.at(it.target);
    if (of_disk.mode != SnapshotMode::external) continue;
    if (!reuse) {
      const Layer& active = files_.at(of_disk.source).layer;
      const bool alike = active.format() == Format::qcow2;
      File file{.layer = Layer(Format::qcow2, active.size(),
                               alike ? active.cluster_size() : std::uint64_t{65536}),
                .backing = of_disk.source,
                .backing_string = path(of_disk.source),
                .backing_format = name_of(active.format()),
                .host_length = {}};
      file.unchanged = false;
      files_.insert_or_assign(of_disk.overlay, std::move(file));
    }
    it.links.insert(it.links.begin(), {of_disk.overlay, index++, {}});
    wake_others(it);
  }
  return std::nullopt;
}

void DomainModel::save_state(const std::string& name) {
  for (const Disk& it : disks_) {
    File& file = files_.at(it.links.front().file);
    file.snapshots.insert_or_assign(name, file.layer);
    file.unchanged = false;
  }
}

// --- delete -----------------------------------------------------------------------------------

std::vector<std::string> DomainModel::descendants_of(const std::string& name) const {
  std::vector<std::string> found;
  for (const auto& [child, snapshot] : snapshots_) {
    std::string above = snapshot.parent;
    while (!above.empty() && above != name) above = snapshots_.at(above).parent;
    if (above == name) found.push_back(child);
  }
  return found;
}

CallPrediction DomainModel::snapshot_delete(const std::string& name, std::uint32_t flags) {
  if (!snapshots_.contains(name)) return unknown_snapshot(name);
  const bool children_alone = (flags & kDeleteChildrenOnly) != 0;
  const bool children = (flags & kDeleteChildren) != 0;
  if (children && children_alone)
    return exclusive("DOMAIN_SNAPSHOT", "DELETE_CHILDREN", "DELETE_CHILDREN_ONLY");
  if (const std::uint32_t strange = flags & ~kKnownDelete)
    return unsupported_flags(strange, "qemuSnapshotDelete");
  const bool metadata_alone = (flags & kDeleteMetadataOnly) != 0;
  if (!metadata_alone)
    if (auto refusal = check_delete(name, flags)) return *refusal;
  std::vector<std::string> names;
  if (children || children_alone) names = descendants_of(name);
  if (!children_alone) names.push_back(name);
  for (const std::string& one : names) {
    if (!metadata_alone && snapshots_.at(one).is_external()) {
      if (auto refusal = merge(one)) return *refusal;
    } else if (!metadata_alone) {
      for (const Disk& it : disks_) {
        File& file = files_.at(it.links.front().file);
        if (file.snapshots.erase(one) != 0) file.unchanged = false;
      }
    }
    discard_snapshot(one);
  }
  return {};
}

std::optional<CallPrediction> DomainModel::check_delete(const std::string& name,
                                                        std::uint32_t flags) {
  const Snapshot& snapshot = snapshots_.at(name);
  const bool is_external = snapshot.is_external();
  for (const Disk& it : disks_) {
    const auto of_disk = snapshot.disks.find(it.target);
    if (!is_external && of_disk != snapshot.disks.end() &&
        of_disk->second.mode == SnapshotMode::internal &&
        of_disk->second.source != it.links.front().file)
      return refused("QEMU", "OPERATION_UNSUPPORTED",
                     fmt::format("disk image '{}' for internal snapshot '{}' is not the same as "
                                 "disk image currently used by VM",
                                 it.target, name));
  }
  const bool any_job = std::ranges::any_of(disks_, [](const Disk& it) { return !!it.job; });
  if (is_external && any_job)
    return refused("QEMU", "OPERATION_UNSUPPORTED",
                   "cannot delete external snapshots when there is another active block job");
  if (any_job) return no_opinion("an internal snapshot is deleted while a job is running");
  if ((flags & (kDeleteChildren | kDeleteChildrenOnly)) == 0) return std::nullopt;
  for (const std::string& below : descendants_of(name))
    if (snapshots_.at(below).is_external())
      return unsupported("deletion of external children disk snapshots not supported");
  if (is_external && (flags & kDeleteChildren) != 0)
    return unsupported("deletion of external disk snapshots with children not supported");
  return std::nullopt;
}

std::optional<CallPrediction> DomainModel::plan_merges(const std::string& name,
                                                       std::vector<Merge>& merges) {
  const Snapshot& snapshot = snapshots_.at(name);
  const auto failed = [](std::string message) {
    return refused("QEMU", "OPERATION_FAILED", std::move(message));
  };
  for (Disk& it : disks_) {
    const auto found = snapshot.disks.find(it.target);
    if (found == snapshot.disks.end() || found->second.mode == SnapshotMode::none) continue;
    const Snapshot::OfDisk& of_disk = found->second;
    const auto link = std::ranges::find(it.links, of_disk.overlay, &Link::file);
    if (of_disk.mode == SnapshotMode::manual || link == it.links.end())
      return refused("STORAGE", "INVALID_ARG",
                     "could not find base disk source in disk source chain");
    const auto at = static_cast<std::size_t>(link - it.links.begin());
    if (at + 1 == it.links.size())
      return failed("failed to find parent disk source in backing chain");
    if (it.links[at + 1].file != of_disk.source)
      return failed("snapshot VM disk source and parent disk source are not the same");
    for (std::string above = snapshot.parent; !above.empty(); above = snapshots_.at(above).parent) {
      const auto there = snapshots_.at(above).disks.find(it.target);
      if (there == snapshots_.at(above).disks.end() || there->second.mode == SnapshotMode::none)
        continue;
      if (!snapshots_.at(above).is_external())
        return refused("QEMU", "OPERATION_UNSUPPORTED",
                       "deleting external snapshot that has internal snapshot as parent not "
                       "supported");
      break;
    }
    if (auto why = strange_commit(it, at, at + 1)) return no_opinion(*std::move(why));
    merges.push_back({&it, at});
    Job job;
    job.kind = JobKind::commit;
    job.first = at;
    job.base = at + 1;
    job.removes = true;
    job.destination = it.links[at + 1].file;
    if (auto refusal = refuse_leased(it, job)) {
      if (merges.size() == 1) return refusal;
      return no_opinion("a later disk's images are leased to others");
    }
  }
  return std::nullopt;
}

// Commits each overlay into what is beneath it; none of them ends before all of them can.
std::optional<CallPrediction> DomainModel::merge(const std::string& name) {
  std::vector<Merge> merges;
  if (auto refusal = plan_merges(name, merges)) return refusal;
  for (const Merge& one : merges) {
    Job job;
    job.first = one.link;
    job.base = one.link + 1;
    job.base_name = path(one.disk->links[job.base].file);
    job.removes = true;
    const CallPrediction started = start_commit(*one.disk, job);
    CHECK(started.accepted(), "a commit of which there was an opinion");
  }
  for (const Merge& one : merges)
    if (one.link == 0) on_ready(one.disk->target);
  for (const Merge& one : merges) {
    Disk& it = *one.disk;
    if (one.link != 0) {
      on_completed(it.target);
      continue;
    }
    it.pass({"waiting", "pending", "concluded", "null"});
    pivot(it);
    emit(it, JobKind::active_commit, "COMPLETED");
  }
  return std::nullopt;
}

// Children become the parent's.  What external descendants were made over is told anew, even where
// nothing was merged.
void DomainModel::discard_snapshot(const std::string& name) {
  const std::vector<std::string> below = descendants_of(name);
  const Snapshot gone = snapshots_.at(name);
  snapshots_.erase(name);
  for (const std::string& one : below) {
    Snapshot& snapshot = snapshots_.at(one);
    if (snapshot.parent == name) snapshot.parent = gone.parent;
    if (!snapshot.is_external()) continue;
    for (const auto& [target, of_disk] : gone.disks) {
      const auto there = snapshot.disks.find(target);
      if (of_disk.mode == SnapshotMode::external && there != snapshot.disks.end() &&
          there->second.source == of_disk.overlay)
        there->second.source = of_disk.source;
    }
  }
  if (current_snapshot_ == name) current_snapshot_ = gone.parent;
}

// --- revert -----------------------------------------------------------------------------------

CallPrediction DomainModel::snapshot_revert(const std::string& name, std::uint32_t flags) {
  const auto found = snapshots_.find(name);
  if (found == snapshots_.end()) return unknown_snapshot(name);
  if ((flags & kRevertRunning) != 0 && (flags & kRevertPaused) != 0)
    return exclusive("DOMAIN_SNAPSHOT", "REVERT_RUNNING", "REVERT_PAUSED");
  if (const std::uint32_t strange = flags & ~kKnownRevert)
    return unsupported_flags(strange, "qemuSnapshotRevert");
  if (std::ranges::any_of(disks_, [](const Disk& it) { return !!it.job; }))
    return refused("QEMU", "OPERATION_INVALID", "domain has active block job");
  const Snapshot& snapshot = found->second;
  if (snapshot.is_external() && !persistent_ && (flags & (kRevertRunning | kRevertPaused)) == 0)
    return refused("QEMU", "OPERATION_INVALID",
                   "transient domain needs to request run or pause to revert to inactive snapshot");
  if (snapshot.is_external()) return unsupported("revert to external snapshot not supported yet");
  for (const auto& [target, of_disk] : snapshot.disks)
    if (!files_.contains(of_disk.source) || !files_.at(of_disk.source).snapshots.contains(name))
      return no_opinion("the snapshot's image is gone");
  if (others_) {
    DomainModel then = *this;
    then.others_.reset();
    static_cast<void>(then.snapshot_revert(name, flags).accepted());
    then.others_ = others_;
    for (const Disk& it : then.disks_) {
      Job nothing;
      nothing.kind = JobKind::pull;
      if (auto refusal = then.refuse_leased(it, nothing)) return *refusal;
    }
  }
  // All is read anew: chains by their headers, numbers from the start.
  const std::vector<Disk> before = std::exchange(disks_, {});
  for (const Disk& it : before) {
    const std::string& source = snapshot.disks.at(it.target).source;
    add_disk(it.target, source, it.discard_unmap);
    disks_.back().statuses = it.statuses;
    disks_.back().job_id = it.job_id;
    File& file = files_.at(source);
    file.layer = file.snapshots.at(name);
    file.unchanged = false;
  }
  current_snapshot_ = name;
  return {};
}

}  // namespace conformance::model
