// The snapshots of a domain as libvirt 9.0 keeps them: a tree of descriptions.  What the images
// hold is not its business (testdata/libvirt_9_0_snapshots.json has what was measured).

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "conformance/target/domain_api.h"

namespace conformance {

enum class SnapshotMode : unsigned char { none, internal, external, manual };
// As documents spell it: "no", "internal", "external", "manual".
std::string_view name_of(SnapshotMode mode);

struct SnapshotDiskRecord {
  std::string target;  // "vda"
  SnapshotMode mode = SnapshotMode::none;
  std::string path = {};    // of an external one: the overlay that the snapshot made active
  std::string format = {};  // of the overlay
  bool merging = false;     // a deletion has begun to commit the overlay
  friend bool operator==(const SnapshotDiskRecord&, const SnapshotDiskRecord&) = default;
};

struct Snapshot {
  std::string name;
  std::string parent = {};  // empty: a root
  std::optional<std::string> description = {};
  std::string state = {};  // "disk-snapshot", "paused", "running", "shutoff"
  SnapshotMode memory = SnapshotMode::none;
  std::int64_t creation_time = 0;           // seconds since 1970
  std::vector<SnapshotDiskRecord> disks{};  // every disk of the domain, in its order
  // What the disks' active images were when it was made, by target.
  std::map<std::string, ChainLink> sources = {};

  bool is_external() const;  // any disk, or the memory
  const SnapshotDiskRecord* disk(const std::string& target) const;
  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};

class SnapshotTree {
 public:
  const Snapshot* find(const std::string& name) const;
  const Snapshot* current() const { return current_.empty() ? nullptr : find(current_); }
  // Newest sibling first, parents before their children.
  std::vector<const Snapshot*> all() const;
  std::vector<const Snapshot*> children_of(const std::string& name) const;  // "": the roots
  // Parents before their children, in the order in which libvirt goes through them.
  std::vector<const Snapshot*> descendants_of(const std::string& name) const;
  // virDomainListAllSnapshots' and virDomainSnapshotListAllChildren's `flags` (ROOTS or
  // DESCENDANTS, LEAVES, NO_LEAVES, …) as far as this tree can tell; names in ascending order.
  // `of` empty: of the domain.
  std::vector<std::string> names(const std::string& of, std::uint32_t flags) const;

  // The parent, if it has one, must be here, and no snapshot of that name.
  void add(Snapshot snapshot);
  // As add(), but behind its siblings.
  void append(Snapshot snapshot) { snapshots_.push_back(std::move(snapshot)); }
  // The same, or the description of that name becomes this one, in its place among its siblings.
  void put(Snapshot snapshot);
  void set_current(const std::string& name) { current_ = name; }  // "": none
  // Of all its external disks.
  void set_merging(const std::string& name);
  // The description goes: its children become its parent's, which becomes the current one if it
  // was.  In the descriptions of external descendants what its overlay was is what was beneath it,
  // whether the images were merged or not (measured: libvirt does so with METADATA_ONLY, too).
  void discard(const std::string& name);

 private:
  std::vector<Snapshot> snapshots_;  // newest sibling first
  std::string current_;
};

}  // namespace conformance
