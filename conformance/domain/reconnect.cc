// A client that takes over where another was cut off.

#include <algorithm>
#include <set>
#include <utility>

#include "conformance/domain/domain.h"
#include "conformance/domain/reply.h"

namespace conformance {

namespace {

constexpr std::string_view kCreatePrefix = "create-";

std::string status_of(const Json& jobs, const std::string& id) {
  for (const Json& job : jobs)
    if (reply::is(job, "id", id)) return reply::text(job, "status");
  return {};
}

}  // namespace

DomainResult<std::unique_ptr<Domain>> Domain::reconnect(
    Hypervisor& hypervisor, Files& files, const std::string& status,
    std::function<void(const std::string&)> keep_status, LockManager* locks, Labels* labels) {
  std::unique_ptr<Domain> domain(new Domain(hypervisor, files));
  domain->keep_status_ = std::move(keep_status);
  domain->locks_ = locks;
  domain->labels_ = labels;
  if (auto read = domain->read_status(status); !read)
    return std::unexpected(std::move(read).error());
  // Labels of what QEMU has open are on the files; a lock manager may have lost its leases.
  for (const Disk& disk : domain->disks_)
    if (auto taken = domain->take_leases(disk); !taken)
      return std::unexpected(std::move(taken).error());
  // A new connection is told nothing of what was before.
  for (;;) {
    auto event = hypervisor.poll_event();
    if (!event) return std::unexpected(std::move(event).error());
    if (!*event) break;
  }
  auto jobs = domain->execute("query-jobs", nullptr);
  if (!jobs) return std::unexpected(std::move(jobs).error());
  if (auto ended = domain->end_create_jobs(*jobs); !ended)
    return std::unexpected(std::move(ended).error());
  if (auto undone = domain->end_snapshot(); !undone)
    return std::unexpected(std::move(undone).error());
  for (Disk& disk : domain->disks_) {
    if (std::exchange(disk.pull_filter, false))
      if (auto gone = domain->execute_ignoring("blockdev-del", {{"node-name", disk.pull_node()}});
          !gone)
        return std::unexpected(std::move(gone).error());
    if (!disk.job) continue;
    if (auto resumed = domain->resume(disk, *jobs); !resumed)
      return std::unexpected(std::move(resumed).error());
  }
  for (const Disk& disk : domain->disks_) domain->give_back(disk);
  domain->save();
  return domain;
}

// Images that were being created are of no use any more: nobody knows what became of the call.
DomainResult<void> Domain::end_create_jobs(const Json& jobs) {
  for (const Json& job : jobs) {
    const std::string id = reply::text(job, "id");
    if (!id.starts_with(kCreatePrefix)) continue;
    create_job_ = reply::is(job, "status", "concluded") ? std::string() : id;
    while (!create_job_.empty())
      if (auto waited = wait_for_event("job " + id + " to conclude"); !waited) return waited;
    if (auto gone = dismiss(id); !gone) return gone;
  }
  return {};
}

// A snapshot that was being made.  Of its overlays all are active, or none; and what there is of
// the latter goes.  Whether the machine's state was saved its image tells.
DomainResult<void> Domain::end_snapshot() {
  const bool any_overlay =
      std::ranges::any_of(disks_, [](const Disk& disk) { return !!disk.overlay; });
  if (!any_overlay && !making_) return {};
  auto nodes = execute("query-named-block-nodes", nullptr);
  if (!nodes) return std::unexpected(std::move(nodes).error());
  bool is_made = false;
  for (Disk& disk : disks_) {
    const Source& image = disk.overlay ? *disk.overlay : *disk.source;
    bool has_it = false;
    for (const Json& node : *nodes) {
      if (!reply::is(node, "node-name", image.format_node())) continue;
      if (disk.overlay) has_it = reply::number(node, "backing_file_depth") > 0;
      for (const Json& kept : reply::member(reply::member(node, "image"), "snapshots"))
        has_it = has_it || (making_ && reply::is(kept, "name", making_->name));
    }
    is_made = is_made || has_it;
    if (!disk.overlay) continue;
    disk.overlay->storage_open = disk.overlay->format_open = true;
    if (has_it)
      install_overlay(disk);
    else if (auto gone = drop_overlay(disk); !gone)
      return gone;
  }
  if (is_made && making_) {
    snapshots_.set_current(making_->name);
    snapshots_.add(*std::move(making_));
  }
  making_.reset();
  return {};
}

// Which nodes of a copy there are.  Too many do no harm: what is not there cannot be removed, and
// that is not looked at.  Only where a pivot may have begun it must be known, and the hypervisor
// asked.
DomainResult<void> Domain::look_at_nodes(Job& job) {
  // Of the recipe `drive` QEMU has opened them all, and removes them.
  if (job.kind != JobKind::copy || recipe_ == CopyRecipe::drive) return {};
  const bool may_be_hung =
      job.reuse && job.state == JobState::ready && job.mirror->beneath != nullptr;
  const bool is_beneath_open =
      !job.reuse || (job.state != JobState::starting && job.state != JobState::running);
  job.mirror->storage_open = job.mirror->format_open = true;
  for (Source* source = job.mirror->beneath.get(); source != nullptr;
       source = source->beneath.get())
    source->storage_open = source->format_open = is_beneath_open;
  if (!may_be_hung) return {};

  // Not flat: only so is the depth told.
  auto nodes = execute("query-named-block-nodes", nullptr);
  if (!nodes) return std::unexpected(std::move(nodes).error());
  std::set<std::string> names;
  for (const Json& node : *nodes) {
    names.insert(reply::text(node, "node-name"));
    if (reply::is(node, "node-name", job.mirror->format_node()))
      job.hung = reply::number(node, "backing_file_depth") > 0;
  }
  for (Source* source = job.mirror->beneath.get(); source != nullptr;
       source = source->beneath.get()) {
    source->storage_open = names.contains(source->storage_node());
    source->format_open = names.contains(source->format_node());
  }
  return {};
}

DomainResult<void> Domain::resume(Disk& disk, const Json& jobs) {
  Job& job = *disk.job;
  if (auto seen = look_at_nodes(job); !seen) return seen;
  const std::string status = status_of(jobs, job.id);
  if (job.state == JobState::succeeded || job.state == JobState::failed) {
    if (!status.empty())
      if (auto gone = dismiss(job.id); !gone) return gone;
    return clear_away(disk);
  }
  if (status.empty()) return undo_start(disk);
  if (status == "concluded") return conclude(disk);
  const bool is_ready = status == "ready" || status == "standby";
  // A client that was about to end it is gone: the snapshot stays, and can be deleted anew.
  if (job.waits || job.state == JobState::aborting) {
    job.state = JobState::aborting;
    return execute_ignoring("block-job-cancel", {{"device", job.id}});
  }
  // All that comes before was done; it is refused if it was sent.
  if (job.state == JobState::pivoting) {
    if (!is_ready) return {};
    return job.kind == JobKind::copy && recipe_ == CopyRecipe::drive
               ? execute_ignoring("block-job-complete", {{"device", job.id}})
               : execute_ignoring("job-complete", {{"id", job.id}});
  }
  const bool was_ready = job.state == JobState::ready;
  job.state = is_ready ? JobState::ready : JobState::running;
  if (is_ready && !was_ready) emit(disk, job.type(), "READY");
  return {};
}

// The call that was to begin it never came to that.
DomainResult<void> Domain::undo_start(Disk& disk) {
  if (disk.job->kind == JobKind::copy)
    if (auto gone = detach_chain(*disk.job->mirror); !gone) return gone;
  const Job job = *std::exchange(disk.job, std::nullopt);
  give_back(disk);
  if (job.kind == JobKind::copy && !job.reuse)
    static_cast<void>(files_.remove(job.mirror->path).ok());
  return {};
}

}  // namespace conformance
