// The life of a job after its start: events, abort, pivot, speed, progress.

#include <utility>
#include <vector>

#include "conformance/domain/domain.h"
#include "conformance/domain/errors.h"
#include "conformance/domain/reply.h"
#include "sim/base/bytes.h"

namespace conformance {

namespace {

constexpr std::string_view kBitmap = "libvirt-tmp-activewrite";
// How long an event that must come may take, and how many others may come before it.
constexpr std::chrono::milliseconds kEventLimit{30'000};
constexpr unsigned kMaxEvents = 10'000;

Json transaction(std::string_view type, Json data) {
  return {{"actions", Json::array({{{"type", type}, {"data", std::move(data)}}})}};
}

bool lists_bitmap(const Json& nodes, const std::string& node_name) {
  for (const Json& node : nodes) {
    if (!reply::is(node, "node-name", node_name)) continue;
    for (const Json& bitmap : reply::member(node, "dirty-bitmaps"))
      if (reply::is(bitmap, "name", kBitmap)) return true;
  }
  return false;
}

}  // namespace

DomainResult<void> Domain::block_job_abort(const std::string& name, std::uint32_t flags) {
  constexpr std::uint32_t kSupported = kAbortAsync | kAbortPivot;
  if ((flags & ~kSupported) != 0)
    return errors::unsupported_flags(flags & ~kSupported, "qemuDomainBlockJobAbort");
  if (auto taken = take_events(); !taken) return taken;
  auto found = find(name);
  if (!found) return std::unexpected(std::move(found).error());
  Disk& disk = **found;
  if (!disk.job) return errors::no_job(disk.target);
  Job& job = *disk.job;
  if (job.state == JobState::aborting || job.state == JobState::pivoting)
    return errors::job_being_ended(disk.target);

  const bool pivoting = (flags & kAbortPivot) != 0;
  if (pivoting) {
    if (auto done = pivot(job); !done) return done;
  } else {
    const JobState before = std::exchange(job.state, JobState::aborting);
    save();
    if (auto cancelled = execute("block-job-cancel", {{"device", job.id}}); !cancelled) {
      // Of a hypervisor that does not answer nobody knows whether it was told.
      if (std::holds_alternative<DomainError>(cancelled.error())) {
        job.state = before;
        save();
      }
      return std::unexpected(std::move(cancelled).error());
    }
  }
  if ((flags & kAbortAsync) != 0) return {};

  const std::string id = job.id;
  auto end = wait_for_end(disk);
  if (!end) return std::unexpected(std::move(end).error());
  if (pivoting && end->failed) return errors::failed_while_pivoting(id, end->error);
  return {};
}

DomainResult<void> Domain::pivot(Job& job) {
  if (job.state != JobState::ready) return errors::not_ready(job.id);
  if (job.kind == JobKind::copy && recipe_ == CopyRecipe::drive)
    return complete(job, "block-job-complete", {{"device", job.id}});
  Source& mirror = job.target();
  // The chain that the reused image's header names is hung under the running mirror only now.
  if (job.shallow && job.reuse && mirror.beneath && !job.hung) {
    auto hung = attach_chain(*mirror.beneath, true);
    if (hung) {
      auto snapshot = execute(
          "transaction", transaction("blockdev-snapshot", {{"node", mirror.beneath->format_node()},
                                                           {"overlay", mirror.format_node()}}));
      if (!snapshot) hung = std::unexpected(std::move(snapshot).error());
    }
    if (!hung) {
      if (std::holds_alternative<DomainError>(hung.error()))
        if (auto undone = detach_chain(*mirror.beneath); !undone) return undone;
      return hung;
    }
    job.hung = true;
  }
  // Makes the target's block status say what was written to it; refusal does not matter.
  auto bitmap = execute_ignoring(
      "transaction", transaction("block-dirty-bitmap-add", {{"node", mirror.format_node()},
                                                            {"name", kBitmap},
                                                            {"persistent", false},
                                                            {"disabled", false}}));
  if (!bitmap) return bitmap;
  return complete(job, "job-complete", {{"id", job.id}});
}

DomainResult<void> Domain::complete(Job& job, std::string_view command, const Json& arguments) {
  job.state = JobState::pivoting;
  save();
  if (auto completing = execute(command, arguments); !completing) {
    if (std::holds_alternative<DomainError>(completing.error())) {
      job.state = JobState::ready;
      save();
    }
    return std::unexpected(std::move(completing).error());
  }
  return {};
}

DomainResult<void> Domain::block_job_set_speed(const std::string& name, std::uint64_t bandwidth,
                                               std::uint32_t flags) {
  if ((flags & ~kSetSpeedBandwidthBytes) != 0)
    return errors::unsupported_flags(flags & ~kSetSpeedBandwidthBytes,
                                     "qemuDomainBlockJobSetSpeed");
  if ((flags & kSetSpeedBandwidthBytes) == 0) {
    if (bandwidth > errors::kMaxBandwidth >> 20) return errors::bandwidth_overflow();
    bandwidth <<= 20;
  }
  if (auto taken = take_events(); !taken) return taken;
  auto found = find(name);
  if (!found) return std::unexpected(std::move(found).error());
  if (!(*found)->job) return errors::no_job((*found)->target);
  if (bandwidth > errors::kMaxBandwidth) return errors::negative_speed();
  auto set = execute("block-job-set-speed", {{"device", (*found)->job->id}, {"speed", bandwidth}});
  if (!set) return std::unexpected(std::move(set).error());
  return {};
}

DomainResult<std::optional<BlockJobInfo>> Domain::block_job_info(const std::string& name,
                                                                 std::uint32_t flags) {
  if ((flags & ~kInfoBandwidthBytes) != 0)
    return errors::unsupported_flags(flags & ~kInfoBandwidthBytes, "qemuDomainGetBlockJobInfo");
  if (auto taken = take_events(); !taken) return std::unexpected(std::move(taken).error());
  auto found = find(name);
  if (!found) return std::unexpected(std::move(found).error());
  if (!(*found)->job) return std::nullopt;
  auto jobs = execute("query-block-jobs", nullptr);
  if (!jobs) return std::unexpected(std::move(jobs).error());
  for (const Json& job : *jobs) {
    if (!reply::is(job, "device", (*found)->job->id)) continue;
    BlockJobInfo info{.type = (*found)->job->type(),
                      .bandwidth = reply::number(job, "speed"),
                      .cur = reply::number(job, "offset"),
                      .end = reply::number(job, "len")};
    if ((flags & kInfoBandwidthBytes) == 0) info.bandwidth = sim::div_up(info.bandwidth, 1U << 20);
    // cur == end means ready to callers, so a job that is not must not look like it.
    if (info.cur == info.end && !reply::flag(job, "ready")) {
      if (info.end == 0)
        info.end = 1;
      else
        --info.cur;
    }
    return info;
  }
  return std::nullopt;
}

DomainResult<std::optional<BlockJobEvent>> Domain::next_event(std::chrono::milliseconds limit) {
  if (auto taken = take_events(); !taken) return std::unexpected(std::move(taken).error());
  for (unsigned seen = 0; events_.empty() && seen < kMaxEvents; ++seen) {
    auto event = hypervisor_.next_event(limit);
    if (!event) return std::unexpected(std::move(event).error());
    if (!*event) break;
    if (auto handled = handle(**event); !handled)
      return std::unexpected(std::move(handled).error());
  }
  if (events_.empty()) return std::nullopt;
  std::optional<BlockJobEvent> oldest = std::move(events_.front());
  events_.pop_front();
  return oldest;
}

DomainResult<Domain::JobEnd> Domain::wait_for_end(Disk& disk) {
  const std::string what = "job " + disk.job->id + " to conclude";
  for (unsigned seen = 0; disk.job && seen < kMaxEvents; ++seen)
    if (auto waited = wait_for_event(what); !waited)
      return std::unexpected(std::move(waited).error());
  if (disk.job)
    return std::unexpected(TargetFailure{TargetFailure::Kind::hang, "waiting for " + what});
  return std::move(disk.last_end);
}

DomainResult<void> Domain::take_events() {
  while (true) {
    auto event = hypervisor_.poll_event();
    if (!event) return std::unexpected(std::move(event).error());
    if (!*event) return {};
    if (auto handled = handle(**event); !handled) return handled;
  }
}

DomainResult<void> Domain::wait_for_event(const std::string& what) {
  auto event = hypervisor_.next_event(kEventLimit);
  if (!event) return std::unexpected(std::move(event).error());
  if (!*event)
    return std::unexpected(
        TargetFailure{TargetFailure::Kind::hang, "no event while waiting for " + what});
  return handle(**event);
}

DomainResult<void> Domain::handle(const Event& event) {
  if (event.name == "STOP" || event.name == "RESUME") running_ = event.name == "RESUME";
  if (event.name != "JOB_STATUS_CHANGE") return {};
  const std::string id = reply::text(event.data, "id");
  const std::string status = reply::text(event.data, "status");
  if (!id.empty() && id == create_job_ && status == "concluded") {
    create_job_.clear();
    return {};
  }
  for (Disk& disk : disks_) {
    if (!disk.job || disk.job->id != id) continue;
    if (status == "concluded") return conclude(disk);
    if (status == "pending" && disk.job->waits && disk.job->state == JobState::running) {
      disk.job->state = JobState::pending;
      save();
    }
    // A drain makes a ready job blink, and an ending one is ready no more.
    if (status == "ready" && disk.job->state == JobState::running) {
      disk.job->state = JobState::ready;
      save();
      emit(disk, disk.job->type(), "READY");
    }
    return {};
  }
  return {};
}

DomainResult<void> Domain::conclude(Disk& disk) {
  Job& job = *disk.job;
  auto end = end_of(job.id);
  if (!end) return std::unexpected(std::move(end).error());
  // An aborted job that was ready ends without an error, and was aborted nevertheless.
  job.aborted = job.state == JobState::aborting;
  const bool succeeded =
      !end->failed && (job.mirrors() ? job.state == JobState::pivoting : !job.aborted);
  job.state = succeeded ? JobState::succeeded : JobState::failed;
  disk.last_end = *std::move(end);
  save();
  if (auto gone = dismiss(job.id); !gone) return gone;
  return clear_away(disk);
}

DomainResult<void> Domain::clear_away(Disk& disk) {
  const bool succeeded = disk.job->state == JobState::succeeded;
  if (auto done = succeeded ? succeed(disk) : come_to_nothing(*disk.job); !done) return done;
  const std::string_view type = disk.job->type();
  const std::string_view status = disk.job->aborted      ? "CANCELED"
                                  : disk.last_end.failed ? "FAILED"
                                                         : "COMPLETED";
  disk.job.reset();
  give_back(disk);
  save();
  emit(disk, type, status);
  return {};
}

DomainResult<void> Domain::succeed(Disk& disk) {
  const Job& job = *disk.job;
  auto nodes = execute("query-named-block-nodes", {{"flat", true}});
  if (!nodes && std::holds_alternative<TargetFailure>(nodes.error()))
    return std::unexpected(std::move(nodes).error());
  if (job.mirrors() && nodes && lists_bitmap(*nodes, job.target().format_node())) {
    auto removed = execute_ignoring(
        "transaction", transaction("block-dirty-bitmap-remove",
                                   {{"node", job.target().format_node()}, {"name", kBitmap}}));
    if (!removed) return removed;
  }
  return job.kind == JobKind::copy ? take_over(disk) : drop_images(disk);
}

DomainResult<void> Domain::come_to_nothing(const Job& job) {
  if (job.kind == JobKind::active_commit)  // as if it had been about to pivot
    return execute_ignoring("block-dirty-bitmap-remove",
                            {{"node", job.base->format_node()}, {"name", kBitmap}});
  if (job.kind != JobKind::copy) return {};
  if (auto gone = detach(*job.mirror); !gone) return gone;
  // Nodes that a pivot hung beneath it, or that it was created over.
  return job.mirror->beneath ? detach_chain(*job.mirror->beneath) : DomainResult<void>();
}

DomainResult<Domain::JobEnd> Domain::end_of(const std::string& id) {
  JobEnd end;
  auto jobs = execute("query-jobs", nullptr);
  if (jobs) {
    for (const Json& job : *jobs) {
      if (reply::is(job, "id", id) && reply::member(job, "error").is_string())
        end = {.failed = true, .error = reply::text(job, "error")};
    }
  } else if (std::holds_alternative<TargetFailure>(jobs.error())) {
    return std::unexpected(std::move(jobs).error());
  }
  return end;
}

DomainResult<void> Domain::dismiss(const std::string& id) {
  return execute_ignoring("job-dismiss", {{"id", id}});
}

DomainResult<void> Domain::take_over(Disk& disk) {
  Job& job = *disk.job;
  if (recipe_ == CopyRecipe::drive && job.reuse && job.mirror->beneath)
    if (auto named = name_opened_chain(*job.mirror); !named) return named;
  // A new shallow copy lies on what lay beneath the old image, unless it was told another chain.
  if (job.shallow && !job.reuse && !job.mirror->beneath) {
    job.mirror->backing = disk.source->backing;
    job.mirror->beneath = std::move(disk.source->beneath);
  }
  if (auto gone = detach_chain(*disk.source); !gone) return gone;
  disk.source = std::move(job.mirror);
  return {};
}

DomainResult<void> Domain::drop_images(Disk& disk) {
  const Job& job = *disk.job;
  std::vector<std::string> paths;
  for (const Source* image = job.top; image != job.base; image = image->beneath.get()) {
    if (auto gone = detach(*image); !gone) return gone;
    paths.push_back(image->path);
  }
  std::unique_ptr<Source>* link = &disk.source;
  while (link->get() != job.top) link = &(*link)->beneath;
  std::unique_ptr<Source> dropped = std::move(*link);
  std::unique_ptr<Source>* rest = &dropped;
  while (rest->get() != job.base) rest = &(*rest)->beneath;
  *link = std::move(*rest);
  if (job.base == nullptr) disk.source->backing = Backing::terminated;
  if (!job.removes) return {};
  give_back(disk);
  for (const std::string& path : paths) static_cast<void>(files_.remove(path).ok());
  return {};
}

const char* Domain::Job::type() const {
  switch (kind) {
    case JobKind::copy:
      return "COPY";
    case JobKind::pull:
      return "PULL";
    case JobKind::commit:
      return "COMMIT";
    case JobKind::active_commit:
      return "ACTIVE_COMMIT";
  }
  std::unreachable();
}

void Domain::emit(const Disk& disk, std::string_view type, std::string_view status) {
  events_.push_back({.disk = disk.target,
                     .path = disk.source->path,
                     .type = std::string(type),
                     .status = std::string(status)});
}

}  // namespace conformance
