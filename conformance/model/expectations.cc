// What a DomainModel says of its state.

#include <algorithm>

#include "conformance/model/domain_model.h"
#include "sim/base/check.h"

namespace conformance::model {

// A disk is named by its target or by the path of its active file.
DomainModel::Disk* DomainModel::find(const std::string& name) {
  for (Disk& it : disks_)
    if (it.target == name || path(it.links.front().file) == name) return &it;
  return nullptr;
}
DomainModel::Disk& DomainModel::disk(const std::string& target) {
  Disk* found = find(target);
  CHECK(found != nullptr, "no such disk");
  return *found;
}
const DomainModel::Disk& DomainModel::disk(const std::string& target) const {
  return const_cast<DomainModel*>(this)->disk(target);
}

LayerChain DomainModel::live_chain(const Disk& it, std::size_t from) const {
  LayerChain chain;
  for (std::size_t i = from; i < it.links.size(); ++i)
    chain.push_back(&files_.at(it.links[i].file).layer);
  for (const std::string& file : it.hidden) chain.push_back(&files_.at(file).layer);
  return chain;
}

// What hangs under the destination's node while the job runs.  With REUSE_EXT nothing does:
// libvirt attaches the header's chain only when it pivots.  A commit's base stays where it is.
LayerChain DomainModel::attached_to_copy(const Disk& it) const {
  if (it.job->kind == JobKind::active_commit) return live_chain(it, it.job->base + 1);
  if (it.job->is_alone) return {};
  if (it.job->keeps_beneath) return live_chain(it, 1);
  LayerChain chain;
  if (!it.job->attached) return chain;
  for (const Link& link : it.job->beneath.links) chain.push_back(&files_.at(link.file).layer);
  for (const std::string& file : it.job->beneath.hidden) chain.push_back(&files_.at(file).layer);
  return chain;
}

std::vector<std::string> DomainModel::header_chain(const std::string& file) const {
  std::vector<std::string> chain;
  for (std::string at = file; !at.empty() && files_.contains(at); at = files_.at(at).backing)
    chain.push_back(at);
  return chain;
}

bool DomainModel::dangles(const std::string& file) const {
  const std::string last = header_chain(file).back();
  return !files_.at(last).backing.empty();
}

LayerChain DomainModel::layers_of(const std::vector<std::string>& files) const {
  LayerChain chain;
  for (const std::string& file : files) chain.push_back(&files_.at(file).layer);
  return chain;
}

// Whether QEMU has the file open, and so has it locked.
bool DomainModel::opened(const std::string& file) const {
  const auto is_in = [&](const std::vector<Link>& links, const std::vector<std::string>& hidden) {
    return std::ranges::count(links, file, &Link::file) + std::ranges::count(hidden, file) > 0;
  };
  return std::ranges::any_of(disks_, [&](const Disk& it) {
    return is_in(it.links, it.hidden) || (it.job && it.job->destination == file) ||
           (it.job && it.job->attached && is_in(it.job->beneath.links, it.job->beneath.hidden));
  });
}

// --- what must be true now --------------------------------------------------------------------

bool DomainModel::has_disk(const std::string& target) const {
  return std::ranges::find(disks_, target, &Disk::target) != disks_.end();
}
bool DomainModel::has_job(const std::string& target) const { return disk(target).job.has_value(); }
bool DomainModel::ready(const std::string& target) const {
  return has_job(target) && disk(target).job->ready;
}
bool DomainModel::ends_by_itself(const std::string& target) const {
  return has_job(target) && !disk(target).job->mirrors();
}
std::optional<Course> DomainModel::course(const std::string& target) const {
  if (!has_job(target)) return std::nullopt;
  return disk(target).job->course;
}
View DomainModel::guest_view(const std::string& target) const {
  return view(live_chain(disk(target)));
}
View DomainModel::cold_view(const std::string& file) const {
  return view(layers_of(header_chain(file)));
}

ChainExpectation DomainModel::chain(const std::string& target) const {
  const Disk& it = disk(target);
  ChainExpectation chain;
  chain.terminated = it.terminated;
  for (const Link& link : it.links)
    chain.links.push_back({path(link.file), name_of(files_.at(link.file).layer.format())});
  return chain;
}

std::optional<MirrorExpectation> DomainModel::mirror(const std::string& target) const {
  const Disk& it = disk(target);
  if (!it.job || !it.job->mirrors()) return std::nullopt;
  return MirrorExpectation{
      .path = path(it.job->destination), .format = name_of(it.job->format), .ready = it.job->ready};
}

std::vector<FileExpectation> DomainModel::files() const {
  std::vector<FileExpectation> files;
  for (const auto& [name, file] : files_) {
    const bool in_use = std::ranges::any_of(
        disks_, [&](const Disk& it) { return it.job && it.job->destination == name; });
    files.push_back({.name = name,
                     .unchanged = file.unchanged,
                     .in_use = in_use,
                     .may_leak = file.may_leak,
                     .layer = file.layer,
                     .backing_string = file.backing_string,
                     .backing_format = file.backing_format,
                     .cold_chain = header_chain(name),
                     .snapshots = file.snapshots,
                     .dangles = dangles(name),
                     .encrypted = file.encrypted});
  }
  return files;
}

const DomainModel::JobStatuses& DomainModel::job_statuses(const std::string& target) const {
  return disk(target).statuses;
}
std::string DomainModel::job_id(const std::string& target) const { return disk(target).job_id; }

}  // namespace conformance::model
