// What a lock manager refuses, and what each disk holds of it.

#include <algorithm>

#include "conformance/model/predictions.h"

namespace conformance::model {

void DomainModel::use_lock_manager(std::vector<OtherLease> others) { others_ = std::move(others); }

DomainModel::HeldLeases DomainModel::leases(const std::string& target) const {
  const Disk& it = disk(target);
  return leases_of(it, it.job ? &*it.job : nullptr);
}

// Written to: the active image, a copy, the base of a commit and the image above what goes, whose
// header gets another name.  Files to be removed must be nobody else's.  All else is read.
DomainModel::HeldLeases DomainModel::leases_of(const Disk& it, const Job* job) const {
  HeldLeases held;
  for (const Link& link : it.links) held.emplace(link.file, false);
  held[it.links.front().file] = true;
  if (job == nullptr || job->kind == JobKind::pull) return held;
  if (job->kind == JobKind::copy) {
    for (const Link& link : job->beneath.links) held.emplace(link.file, false);
  } else {
    if (job->first > 0) held[it.links[job->first - 1].file] = true;
    for (std::size_t i = job->first; job->removes && i < job->base; ++i)
      held[it.links[i].file] = true;
  }
  held[job->destination] = true;
  return held;
}

std::optional<CallPrediction> DomainModel::refuse_leased(const Disk& it, const Job& job) const {
  if (!others_) return std::nullopt;
  std::vector<OtherLease> others = *others_;
  for (const Disk& other : disks_) {
    if (&other == &it) continue;
    for (const auto& [file, is_written] : leases(other.target))
      others.push_back({.file = file, .holder = "domain/" + other.target, .exclusive = is_written});
  }
  std::ranges::sort(others, {}, &OtherLease::holder);
  for (const auto& [file, is_written] : leases_of(it, &job))
    for (const OtherLease& other : others)
      if (other.file == file && (is_written || other.exclusive))
        return refused(
            "LOCKSPACE", "RESOURCE_BUSY",
            fmt::format("Lockspace resource '{}' is locked by '{}'", path(file), other.holder));
  return std::nullopt;
}

}  // namespace conformance::model
