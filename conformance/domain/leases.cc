// Leases and labels of a domain's images.  What is held follows from what a chain and its job need,
// wherever a client was cut off, so it is computed and kept nowhere else.

#include <algorithm>
#include <utility>

#include "conformance/domain/domain.h"
#include "conformance/domain/errors.h"

namespace conformance {

// A commit writes to its base, and to the header of the image above its top, as libvirt has it; the
// files that it is to remove must be nobody else's.  What has ended needs only what is still open.
Domain::Needs Domain::needs_of(const Disk& disk) {
  Needs needs;
  const auto want = [&needs](const Source& source, LeaseMode lease, Label label) {
    Need& need = needs[source.path];
    need = {std::max(need.lease, lease), std::max(need.label, label)};
  };
  const auto want_chain = [&want](const Source& top) {
    want(top, LeaseMode::exclusive, Label::read_write);
    for (const Source* source = top.beneath.get(); source != nullptr;
         source = source->beneath.get())
      want(*source, LeaseMode::shared, Label::read_only);
  };
  want_chain(*disk.source);
  if (disk.overlay) want_chain(*disk.overlay);
  if (!disk.job) return needs;
  const Job& job = *disk.job;
  if (job.mirror) want_chain(*job.mirror);
  const bool has_ended = job.state == JobState::succeeded || job.state == JobState::failed;
  if (has_ended || (job.kind != JobKind::commit && job.kind != JobKind::active_commit))
    return needs;
  want(*job.base, LeaseMode::exclusive, Label::read_write);
  for (const Source* source = disk.source.get(); source != job.top; source = source->beneath.get())
    if (source->beneath.get() == job.top) want(*source, LeaseMode::exclusive, Label::read_write);
  for (const Source* source = job.top; job.removes && source != job.base;
       source = source->beneath.get())
    want(*source, LeaseMode::exclusive, Label::read_only);
  return needs;
}

DomainResult<void> Domain::take_leases(const Disk& disk) {
  if (locks_ == nullptr) return {};
  Leases leases = locks_->held_by(holder(disk));
  for (const auto& [path, need] : needs_of(disk)) {
    LeaseMode& mode = leases.try_emplace(path, need.lease).first->second;
    mode = std::max(mode, need.lease);
  }
  if (const auto conflict = locks_->hold(holder(disk), leases))
    return errors::leased(conflict->file, conflict->holder);
  return {};
}

DomainResult<void> Domain::raise_labels(const Disk& disk) {
  if (labels_ == nullptr) return {};
  const LabelledFiles labels = labels_->set_by(holder(disk));
  for (const auto& [path, need] : needs_of(disk)) {
    const auto found = labels.find(path);
    if (found != labels.end() && found->second >= need.label) continue;
    if (auto set = labels_->set(holder(disk), path, need.label); !set)
      return errors::cannot_label(path, set.error().desc);
  }
  return {};
}

void Domain::give_back(const Disk& disk) { give_back_to(holder(disk), needs_of(disk)); }

// A label that cannot be lowered is left: libvirt warns, and goes on.
void Domain::give_back_to(const std::string& holder, const Needs& needs) {
  if (labels_ != nullptr)
    for (const auto& [path, label] : labels_->set_by(holder)) {
      const auto found = needs.find(path);
      const Label needed = found == needs.end() ? Label::none : found->second.label;
      if (needed < label) static_cast<void>(labels_->set(holder, path, needed).ok());
    }
  if (locks_ == nullptr) return;
  Leases leases = locks_->held_by(holder);
  std::erase_if(leases, [&](const auto& lease) { return !needs.contains(lease.first); });
  for (auto& [path, mode] : leases) mode = std::min(mode, needs.at(path).lease);
  static_cast<void>(locks_->hold(holder, leases).has_value());  // fewer never conflict
}

void Domain::stopped() {
  for (const Disk& disk : disks_) give_back_to(holder(disk), {});
}

}  // namespace conformance
