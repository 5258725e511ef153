#include "conformance/domain/snapshot_tree.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "sim/base/check.h"

namespace conformance {

std::string_view name_of(SnapshotMode mode) {
  constexpr std::array<std::string_view, 4> kNames = {"no", "internal", "external", "manual"};
  return kNames[std::to_underlying(mode)];
}

bool Snapshot::is_external() const {
  return memory == SnapshotMode::external ||
         std::ranges::find(disks, SnapshotMode::external, &SnapshotDiskRecord::mode) != disks.end();
}

const SnapshotDiskRecord* Snapshot::disk(const std::string& target) const {
  const auto found = std::ranges::find(disks, target, &SnapshotDiskRecord::target);
  return found == disks.end() ? nullptr : &*found;
}

const Snapshot* SnapshotTree::find(const std::string& name) const {
  const auto found = std::ranges::find(snapshots_, name, &Snapshot::name);
  return found == snapshots_.end() ? nullptr : &*found;
}

std::vector<const Snapshot*> SnapshotTree::children_of(const std::string& name) const {
  std::vector<const Snapshot*> children;
  for (const Snapshot& snapshot : snapshots_)
    if (snapshot.parent == name) children.push_back(&snapshot);
  return children;
}

std::vector<const Snapshot*> SnapshotTree::descendants_of(const std::string& name) const {
  std::vector<const Snapshot*> found;
  std::vector<const Snapshot*> open = children_of(name);
  std::ranges::reverse(open);
  while (!open.empty()) {
    const Snapshot* const next = open.back();
    open.pop_back();
    found.push_back(next);
    std::vector<const Snapshot*> below = children_of(next->name);
    open.insert(open.end(), below.rbegin(), below.rend());
  }
  return found;
}

std::vector<const Snapshot*> SnapshotTree::all() const { return descendants_of({}); }

std::vector<std::string> SnapshotTree::names(const std::string& of, std::uint32_t flags) const {
  // DESCENDANTS of one snapshot and ROOTS of the domain are the same bit.
  const bool everything = ((flags & kSnapshotListRoots) != 0) != of.empty();
  std::vector<std::string> names;
  for (const Snapshot* snapshot : everything ? descendants_of(of) : children_of(of)) {
    const bool is_leaf = children_of(snapshot->name).empty();
    const std::uint32_t leaves = flags & (kSnapshotListLeaves | kSnapshotListNoLeaves);
    if (leaves == kSnapshotListLeaves && !is_leaf) continue;
    if (leaves == kSnapshotListNoLeaves && is_leaf) continue;
    const std::uint32_t where = flags & (kSnapshotListInternal | kSnapshotListExternal);
    if (where == kSnapshotListInternal && snapshot->is_external()) continue;
    if (where == kSnapshotListExternal && !snapshot->is_external()) continue;
    names.push_back(snapshot->name);
  }
  std::ranges::sort(names);
  return names;
}

void SnapshotTree::add(Snapshot snapshot) {
  CHECK(find(snapshot.name) == nullptr && (snapshot.parent.empty() || find(snapshot.parent)));
  snapshots_.insert(snapshots_.begin(), std::move(snapshot));
}

void SnapshotTree::put(Snapshot snapshot) {
  const auto at = std::ranges::find(snapshots_, snapshot.name, &Snapshot::name);
  if (at == snapshots_.end()) return add(std::move(snapshot));
  *at = std::move(snapshot);
}

void SnapshotTree::set_merging(const std::string& name) {
  for (SnapshotDiskRecord& disk : std::ranges::find(snapshots_, name, &Snapshot::name)->disks)
    disk.merging = disk.mode == SnapshotMode::external;
}

void SnapshotTree::discard(const std::string& name) {
  const auto at = std::ranges::find(snapshots_, name, &Snapshot::name);
  CHECK(at != snapshots_.end());
  const Snapshot gone = std::move(*at);
  // The names of those below, before the tree changes.
  std::vector<std::string> below;
  for (const Snapshot* snapshot : descendants_of(name)) below.push_back(snapshot->name);
  snapshots_.erase(at);
  for (Snapshot& snapshot : snapshots_) {
    if (std::ranges::find(below, snapshot.name) == below.end() || !snapshot.is_external()) continue;
    for (const SnapshotDiskRecord& disk : gone.disks) {
      if (disk.mode != SnapshotMode::external) continue;
      const auto source = snapshot.sources.find(disk.target);
      const auto beneath = gone.sources.find(disk.target);
      if (source != snapshot.sources.end() && beneath != gone.sources.end() &&
          source->second.path == disk.path)
        source->second = beneath->second;
    }
  }
  // Orphans come before the children that the parent has already.
  std::vector<Snapshot> orphans;
  std::vector<Snapshot> others;
  for (Snapshot& snapshot : snapshots_) {
    const bool is_orphan = snapshot.parent == gone.name;
    if (is_orphan) snapshot.parent = gone.parent;
    (is_orphan ? orphans : others).push_back(std::move(snapshot));
  }
  std::ranges::move(others, std::back_inserter(orphans));
  snapshots_ = std::move(orphans);
  if (current_ == gone.name) current_ = gone.parent;
}

}  // namespace conformance
