// External snapshots: a new active image over each disk's, all at once.

#include <utility>
#include <vector>

#include "conformance/domain/domain.h"
#include "conformance/domain/snapshot_errors.h"

namespace conformance {

DomainResult<void> Domain::make_overlays(const Snapshot& snapshot, std::uint32_t flags) {
  const bool reuse = (flags & kSnapshotReuseExt) != 0;
  auto nodes = execute("query-named-block-nodes", {{"flat", true}});
  if (!nodes) return std::unexpected(std::move(nodes).error());
  std::vector<Disk*> disks;
  DomainResult<void> made;
  for (Disk& disk : disks_) {
    const SnapshotDiskRecord& plan = *snapshot.disk(disk.target);
    if (plan.mode != SnapshotMode::external || !made) continue;
    disks.push_back(&disk);
    disk.overlay = std::make_unique<Source>();
    disk.overlay->path = plan.path;
    disk.overlay->format = plan.format;
    disk.overlay->backing = Backing::terminated;  // until it is active
    disk.overlay_is_new = false;
    made = take_leases(disk);
  }
  for (Disk* disk : disks) {
    if (!made) break;
    number(*disk->overlay);
    disk->overlay_is_new = !reuse;
    save();
    made = open_overlay(*disk, *nodes);
  }
  Json actions = Json::array();
  for (const Disk* disk : disks)
    actions.push_back(
        {{"type", "blockdev-snapshot"},
         {"data",
          {{"node", disk->source->format_node()}, {"overlay", disk->overlay->format_node()}}}});
  if (made) {
    auto taken = execute("transaction", {{"actions", std::move(actions)}});
    if (!taken) made = std::unexpected(std::move(taken).error());
  }
  if (!made) {
    if (std::holds_alternative<TargetFailure>(made.error())) return made;
    for (auto disk = disks.rbegin(); disk != disks.rend(); ++disk)
      if (auto gone = drop_overlay(**disk); !gone) return gone;
    save();
    return made;
  }
  for (Disk* disk : disks) install_overlay(*disk);
  return {};
}

DomainResult<void> Domain::open_overlay(Disk& disk, const Json& nodes) {
  Source& overlay = *disk.overlay;
  if (disk.overlay_is_new) {
    if (auto created = files_.create(overlay.path, 0); !created) {
      disk.overlay_is_new = false;  // there is nothing to remove
      return errors::cannot_create_overlay(overlay.path, created.error().desc);
    }
    if (auto raised = raise_labels(disk); !raised) return raised;
    auto sizes = sizes_in(nodes, *disk.source);
    if (!sizes) return std::unexpected(std::move(sizes).error());
    auto created = create_qcow2(*disk.source, *sizes, disk.source.get(), overlay);
    if (!created) return created;
  } else {
    if (auto raised = raise_labels(disk); !raised) return raised;
    if (auto storage = attach_storage(overlay); !storage) return storage;
  }
  auto opened = attach_format(overlay, nullptr, false);
  // libvirt forgets the storage node of an image that it was given and that is of another format
  // (measured on 9.0.0): QEMU keeps it open.
  if (!opened && !disk.overlay_is_new && std::holds_alternative<DomainError>(opened.error()))
    overlay.storage_open = false;
  return opened;
}

DomainResult<void> Domain::drop_overlay(Disk& disk) {
  if (auto gone = detach(*disk.overlay); !gone) return gone;
  const std::unique_ptr<Source> overlay = std::move(disk.overlay);
  give_back(disk);
  if (disk.overlay_is_new) static_cast<void>(files_.remove(overlay->path).ok());
  return {};
}

void Domain::install_overlay(Disk& disk) {
  disk.overlay->backing = Backing::known;
  disk.overlay->beneath = std::move(disk.source);
  disk.source = std::move(disk.overlay);
  give_back(disk);
}

}  // namespace conformance
