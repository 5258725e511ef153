#include "sim/qcow2/metadata.h"

#include <fmt/format.h>

#include <algorithm>

namespace sim::qcow2 {

namespace {

const char* name_of(Metadata::Kind kind) {  // QEMU's
  switch (kind) {
    case Metadata::Kind::header:
      return "qcow2_header";
    case Metadata::Kind::l1:
      return "active L1 table";
    case Metadata::Kind::l2:
      return "active L2 table";
    case Metadata::Kind::refcount_table:
      return "refcount table";
    case Metadata::Kind::refcount_block:
      return "refcount block";
    case Metadata::Kind::snapshot_table:
      return "snapshot table";
    case Metadata::Kind::inactive_l1:
      return "inactive L1 table";
    case Metadata::Kind::bitmap_directory:
      return "bitmap directory";
  }
  return "";
}

std::uint64_t key_of(Metadata::Kind kind, std::uint64_t cluster) {
  return cluster * 2 + (kind == Metadata::Kind::refcount_block ? 1 : 0);
}

}  // namespace

void Metadata::clear_areas() { areas_.clear(); }

void Metadata::assign_tables(std::vector<HostCluster> l2,
                             std::vector<HostCluster> refcount_blocks) {
  tables_.clear();
  tables_.reserve(l2.size() + refcount_blocks.size());
  for (const HostCluster cluster : l2) tables_.push_back(key_of(Kind::l2, cluster.value));
  for (const HostCluster cluster : refcount_blocks)
    tables_.push_back(key_of(Kind::refcount_block, cluster.value));
  std::ranges::sort(tables_);
}

void Metadata::add_table(Kind kind, HostCluster cluster) {
  const std::uint64_t key = key_of(kind, cluster.value);
  tables_.insert(std::ranges::upper_bound(tables_, key), key);
}

void Metadata::remove_table(Kind kind, HostCluster cluster) {
  const std::uint64_t key = key_of(kind, cluster.value);
  const auto found = std::ranges::lower_bound(tables_, key);
  if (found != tables_.end() && *found == key) tables_.erase(found);
}

void Metadata::add_area(Kind kind, HostCluster first, std::uint64_t clusters) {
  if (clusters > 0)
    areas_.push_back({.first = first.value, .end = first.value + clusters, .kind = kind});
}

void Metadata::move_area(Kind kind, HostCluster first, std::uint64_t clusters) {
  std::erase_if(areas_, [kind](const Area& area) { return area.kind == kind; });
  add_area(kind, first, clusters);
}

std::optional<Metadata::Kind> Metadata::found(std::uint64_t first, std::uint64_t end,
                                              std::optional<Kind> own) const {
  std::optional<Kind> met;
  const auto meet = [&](Kind kind) {
    if (kind != own && (!met || kind < *met)) met = kind;
  };
  for (const Area& area : areas_)
    if (area.first < end && first < area.end) meet(area.kind);
  for (auto at = std::ranges::lower_bound(tables_, first * 2); at != tables_.end() && *at < end * 2;
       ++at)
    meet(*at % 2 == 0 ? Kind::l2 : Kind::refcount_block);
  return met;
}

Result<> Metadata::check(HostCluster first, HostCluster end, std::optional<Kind> own) {
  const std::optional<Kind> met = found(first.value, end.value, own);
  if (!met) return ok();
  return report(
      fmt::format("Preventing invalid write on metadata (overlaps with {})", name_of(*met)));
}

Error Metadata::report(std::string text) {
  broken_ = true;
  return os_error(EIO, text);
}

}  // namespace sim::qcow2
