// virDomainRevertToSnapshot, to internal ones: libvirt 9.0 ends QEMU and starts it anew with the
// images and the machine of that time.

#include <algorithm>
#include <utility>

#include "conformance/domain/chain.h"
#include "conformance/domain/domain.h"
#include "conformance/domain/snapshot_errors.h"

namespace conformance {

DomainResult<void> Domain::check_leases_of(const std::vector<DiskDefinition>& disks) const {
  if (locks_ == nullptr) return {};
  LockManager tried = *locks_;
  for (const Disk& disk : disks_)
    static_cast<void>(tried.hold(holder(disk), {}).has_value());  // fewer never conflict
  for (const DiskDefinition& definition : disks) {
    auto top = read_chain(files_, definition.path, definition.format);
    if (!top) return std::unexpected(std::move(top).error());
    Disk disk;
    disk.target = definition.target;
    disk.source = *std::move(top);
    Leases leases;
    for (const auto& [path, need] : needs_of(disk)) leases[path] = need.lease;
    if (const auto conflict = tried.hold(holder(disk), leases))
      return errors::leased(conflict->file, conflict->holder);
  }
  return {};
}

DomainResult<void> Domain::snapshot_revert(const std::string& name, std::uint32_t flags) {
  constexpr std::uint32_t kSupported = kSnapshotRevertRunning | kSnapshotRevertPaused |
                                       kSnapshotRevertForce | kSnapshotRevertResetNvram;
  constexpr std::uint32_t kStates = kSnapshotRevertRunning | kSnapshotRevertPaused;
  if (auto taken = take_events(); !taken) return taken;
  const Snapshot* snapshot = snapshots_.find(name);
  if (snapshot == nullptr) return errors::no_snapshot(name);
  if ((flags & kStates) == kStates)
    return errors::flags_exclude("DOMAIN_SNAPSHOT", "VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING",
                                 "VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED");
  if ((flags & ~kSupported) != 0)
    return errors::unsupported_flags(flags & ~kSupported, "qemuSnapshotRevert");
  if (std::ranges::any_of(disks_, [](const Disk& disk) { return !!disk.job; }))
    return errors::job_forbids_revert();
  const bool was_active = snapshot->state == "running" || snapshot->state == "paused";
  if (!persistent_ && !was_active && (flags & kStates) == 0) return errors::revert_needs_state();
  if (snapshot->is_external()) return errors::cannot_revert_external();
  if (!restart_) return errors::not_in_this_version("a revert on this target");

  std::vector<DiskDefinition> disks;
  for (const Disk& disk : disks_) {
    const ChainLink& source = snapshot->sources.at(disk.target);
    disks.push_back({disk.target, source.path, source.format, passphrases_});
  }
  if (auto free = check_leases_of(disks); !free) return free;
  if (auto started = restart_(); !started) return std::unexpected(std::move(started).error());
  stopped();
  disks_.clear();
  running_ = false;
  if (auto added = add_disks(disks); !added) return added;
  auto said = execute("human-monitor-command", {{"command-line", "loadvm \"" + name + "\""}});
  if (!said) return std::unexpected(std::move(said).error());
  const std::string text = said->is_string() ? said->get<std::string>() : std::string();
  if (!text.empty()) return errors::revert_failed(text);
  const bool runs = (flags & kSnapshotRevertRunning) != 0 ||
                    ((flags & kSnapshotRevertPaused) == 0 && snapshot->state == "running");
  if (runs) {
    auto resumed = execute("cont", nullptr);
    if (!resumed) return std::unexpected(std::move(resumed).error());
    running_ = true;
  }
  snapshots_.set_current(name);
  save();
  return {};
}

}  // namespace conformance
